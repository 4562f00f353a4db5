"""The figures of a run: summary.json."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from loadtest.distribution import distribution, wilson_interval
from loadtest.errors import LoadTestError
from loadtest.llmload.journal import read_records
from loadtest.samples import Samples, Window
from loadtest.scenario import Scenario

SUMMARY = "summary.json"
META = "meta.json"
LATENCIES = ("ttft_s", "itl_s", "tpot_s", "e2e_s")

Summary = dict[str, Any]


def is_used(folder: Path) -> bool:
    """Whether a run, even one that never came to its end, left its records here."""
    return (folder / META).exists() or any(folder.glob("records*.jsonl"))


def read_meta(folder: Path) -> dict[str, Any]:
    """What the run was: host, scenario, seed, workers, validity. Raises LoadTestError where there is no run."""
    try:
        meta: dict[str, Any] = orjson.loads((folder / META).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise LoadTestError(f"{folder} holds no finished run: {META} cannot be read ({error}).") from error
    return meta


def read_summary(folder: Path) -> Summary:
    """Raises LoadTestError where there is none."""
    try:
        summary: Summary = orjson.loads((folder / SUMMARY).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise LoadTestError(
            f"{folder} holds no {SUMMARY} that can be read ({error}); `python -m loadtest report {folder}` makes it."
        ) from error
    return summary


def samples_of(folder: Path, meta: Mapping[str, Any]) -> Samples:
    """The records of a run with the window and the limits of its scenario."""
    scenario = Scenario.model_validate(meta["options"]["scenario"])
    slos = {part.name: part.workload.slo for part in scenario.parts}
    sending_ended_s = meta["options"]["sending_ended_unix_s"] - meta["started_unix_s"]
    window = Window(scenario.warmup_s, min(scenario.duration_s, sending_ended_s))
    return Samples(read_records(folder), window, slos)


def summarize(samples: Samples, meta: Mapping[str, Any]) -> Summary:
    """The figures of the whole run and of each of its parts, with what the run was and whether it is valid."""
    names = sorted({record.scenario for record in samples.records})
    return {
        "scenario": meta["options"]["scenario"]["name"],
        "seed": meta["options"]["seed"],
        "host": meta["host"],
        "started_unix_s": meta["started_unix_s"],
        "valid": meta["validity"]["valid"],
        "invalid_because": meta["validity"]["reasons"],
        **figures(samples),
        "parts": {name: figures(samples.of_part(name)) for name in names} if len(names) > 1 else {},
    }


def figures(samples: Samples) -> Summary:
    """Counts and latencies are of requests begun in the window, rates of what ended or arrived in it."""
    measured, good, window = samples.measured, samples.good, samples.window
    return {
        "window_s": window.length_s,
        "requests": len(measured),
        "failures": len(measured) - len(samples.succeeded),
        "failures_by_kind": dict(Counter(record.error_kind.value for record in measured if record.error_kind)),
        "stopped": samples.stopped,
        "prompt_tokens": sum(record.prompt_tokens or 0 for record in samples.succeeded),
        "output_tokens": sum(record.output_tokens or 0 for record in samples.succeeded),
        "requests_per_s": _rate(samples.ended_in_window([r for r in samples.records if r.ok]), window),
        "output_tokens_per_s": _rate(samples.tokens_in_window(), window),
        "goodput": {
            "good": len(good),
            "share": len(good) / len(measured) if measured else None,
            "interval": wilson_interval(len(good), len(measured)),
            "per_s": _rate(samples.ended_in_window(good), window),
        },
        **{name: distribution(getattr(samples, name)) for name in LATENCIES},
        "send_lag_s": distribution(samples.send_lag_s),
        "prompt_tokens_per_request": distribution([r.prompt_tokens or 0 for r in samples.succeeded]),
        "output_tokens_per_request": distribution([r.output_tokens or 0 for r in samples.succeeded]),
        "finish_reasons": dict(Counter(record.finish_reason or "none" for record in samples.succeeded)),
    }


def write_summary(folder: Path, summary: Summary) -> None:
    (folder / SUMMARY).write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))


def _rate(amount: float, window: Window) -> float:
    return amount / window.length_s if window.length_s else 0.0
