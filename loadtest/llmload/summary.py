"""The figures of a run, from its records."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from llmload.chat_record import Record

Distribution = dict[str, float | int]


def read_records(path: Path) -> list[Record]:
    with path.open("rb") as lines:
        return [Record.from_json(line) for line in lines]


def summarize(records: Sequence[Record]) -> dict[str, Any]:
    """Counts cover every request, times and tokens only those that succeeded (docs/loadtest.md)."""
    good = [record for record in records if record.ok]
    duration_s = _duration_s(records)
    completion_tokens = sum(record.completion_tokens or 0 for record in good)
    return {
        "duration_s": duration_s,
        "requests": len(records),
        "failures": len(records) - len(good),
        "failures_by_kind": dict(Counter(record.error_kind for record in records if not record.ok)),
        "prompt_tokens": sum(record.prompt_tokens or 0 for record in good),
        "completion_tokens": completion_tokens,
        "requests_per_s": _rate(len(good), duration_s),
        "output_tokens_per_s": _rate(completion_tokens, duration_s),
        "ttft_s": distribution(record.ttft_s for record in good),
        "itl_s": distribution(gap_s for record in good for gap_s in record.gaps_s),
        "tpot_s": distribution(record.tpot_s for record in good),
        "e2e_s": distribution(record.end_s for record in good),
    }


def distribution(values: Iterable[float | None]) -> Distribution:
    """Count, mean, percentiles (linear interpolation between ranks) and maximum; only the count when empty."""
    known = [value for value in values if value is not None]
    if not known:
        return {"count": 0}
    percentiles = quantiles(known, n=100, method="inclusive") if len(known) > 1 else known * 99
    return {
        "count": len(known),
        "mean": fmean(known),
        "p50": percentiles[49],
        "p90": percentiles[89],
        "p99": percentiles[98],
        "max": max(known),
    }


def _duration_s(records: Sequence[Record]) -> float:
    """From the first request's start to the last one's end."""
    if not records:
        return 0.0
    first_s = min(record.started_unix_s for record in records)
    return max(record.started_unix_s + record.end_s for record in records) - first_s


def _rate(count: int, duration_s: float) -> float:
    return count / duration_s if duration_s > 0 else 0.0
