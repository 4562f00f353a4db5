"""A run second by second."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.distribution import Floats
from loadtest.llmload.record import ErrorKind, Record
from loadtest.samples import token_arrivals


@dataclass(frozen=True)
class Timeline:
    """Per second of the run, float64 [seconds] each; `time_s` is where the second begins."""

    time_s: Floats
    output_tokens: Floats
    begun: Floats
    under_way: Floats
    """Requests sent or due, and not answered, at the second's end."""
    errors: Floats


def timeline_of(records: Sequence[Record]) -> Timeline:
    seconds = int(np.ceil(max((record.end_s for record in records), default=0.0))) or 1
    edges = np.arange(seconds + 1, dtype=np.float64)
    token_times_s, tokens = token_arrivals(records)
    begun = _count([record.started_s for record in records], edges)
    ended = _count([record.end_s for record in records], edges)
    failed = [r.end_s for r in records if not r.ok and r.error_kind is not ErrorKind.STOPPED]
    return Timeline(
        time_s=edges[:-1],
        output_tokens=np.histogram(token_times_s, edges, weights=tokens)[0].astype(np.float64),
        begun=begun,
        under_way=np.cumsum(begun - ended),
        errors=_count(failed, edges),
    )


def _count(times_s: Sequence[float], edges: Floats) -> Floats:
    return np.histogram(np.asarray(times_s), edges)[0].astype(np.float64)
