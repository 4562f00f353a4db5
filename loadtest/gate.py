"""Whether a run is good enough for a release: a verdict with an exit code."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from loadtest.checked import checked
from loadtest.distribution import PERCENTILES, samples_needed, wilson_interval
from loadtest.errors import LoadTestError
from loadtest.scenario import Model
from loadtest.summary import Summary

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]
Percentile = Literal["mean", "p50", "p90", "p95", "p99", "p99.9", "max"]


class GateLimits(Model):
    """What an SLO file may ask for; what is None is not asked for."""

    min_requests: int = Field(default=100, ge=1)
    max_failure_share: Share | None = 0.01
    min_goodput: Share | None = None
    min_output_tokens_per_s: float | None = Field(default=None, gt=0)
    min_requests_per_s: float | None = Field(default=None, gt=0)
    latency_s: dict[Literal["ttft", "itl", "tpot", "e2e"], dict[Percentile, Seconds]] = Field(default={})


class Verdict(Enum):
    """The exit code of `gate`."""

    PASS = 0
    FAIL = 1
    INVALID = 3
    TOO_FEW_SAMPLES = 4


@dataclass(frozen=True)
class Check:
    """One limit: what was asked, what was found, and what follows."""

    asked: str
    found: str
    verdict: Verdict


def read_limits(file: Path) -> GateLimits:
    """Raises LoadTestError for a file that cannot be read or does not fit."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LoadTestError(f"The SLO file {file} cannot be read: {error}") from error
    return checked(GateLimits, content, file)


def judge(summary: Summary, limits: GateLimits) -> tuple[Verdict, list[Check]]:
    """An invalid run has no verdict; a limit that is surely broken fails the run whatever else is unknown."""
    checks = list(_checks(summary, limits))
    if not summary["valid"]:
        return Verdict.INVALID, checks
    found = {check.verdict for check in checks}
    return next((v for v in (Verdict.FAIL, Verdict.TOO_FEW_SAMPLES) if v in found), Verdict.PASS), checks


def _checks(summary: Summary, limits: GateLimits) -> Iterator[Check]:
    requests = summary["requests"]
    enough = Verdict.PASS if requests >= limits.min_requests else Verdict.TOO_FEW_SAMPLES
    yield Check(f"at least {limits.min_requests} requests", str(requests), enough)
    if limits.max_failure_share is not None:
        yield _share_check(
            "requests without failure", requests - summary["failures"], requests, 1 - limits.max_failure_share
        )
        yield _cut_off_check(summary["stopped"], requests, limits.max_failure_share)
    if limits.min_goodput is not None:
        yield _share_check("goodput", summary["goodput"]["good"], requests, limits.min_goodput)
    for name in ("output_tokens_per_s", "requests_per_s"):
        least = getattr(limits, f"min_{name}")
        if least is not None:
            verdict = Verdict.PASS if summary[name] >= least else Verdict.FAIL
            yield Check(f"{name} at least {least:g}", f"{summary[name]:.4g}", verdict)
    for latency, percentiles in limits.latency_s.items():
        for name, limit_s in percentiles.items():
            yield _latency_check(summary, latency, name, limit_s)


def _share_check(name: str, successes: int, trials: int, least: float) -> Check:
    """Decided by the share alone if it is 1 or the interval lies on one side of the limit; else more samples decide."""
    low, high = wilson_interval(successes, trials)
    if trials and (low >= least or successes == trials):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if high < least else Verdict.TOO_FEW_SAMPLES
    found = f"{successes} of {trials} ({low:.2%} to {high:.2%})"
    return Check(f"{name} at least {least:.2%}", found, verdict)


def _cut_off_check(stopped: int, measured: int, most: float) -> Check:
    """A server that hangs fails no request: it leaves them to be cut off."""
    share = stopped / (stopped + measured) if stopped else 0.0
    verdict = Verdict.FAIL if share > most else Verdict.PASS
    return Check(f"requests cut off by the end at most {most:.2%}", f"{stopped} of {stopped + measured}", verdict)


def _latency_check(summary: Summary, latency: str, name: str, limit_s: float) -> Check:
    times = summary[f"{latency}_s"]
    asked = f"{latency} {name} at most {limit_s * 1000:g} ms"
    if times[name] is None:
        needed = samples_needed(PERCENTILES.get(name, 0))
        return Check(asked, f"{times['count']} samples, needs {needed}", Verdict.TOO_FEW_SAMPLES)
    verdict = Verdict.PASS if times[name] <= limit_s else Verdict.FAIL
    return Check(asked, f"{times[name] * 1000:.4g} ms", verdict)
