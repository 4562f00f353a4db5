"""What the records of a run say, as arrays; every figure starts from these (docs/loadtest.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from loadtest.distribution import Floats
from loadtest.llmload.record import ErrorKind, Record
from loadtest.scenario import Slo

Slos = Mapping[str, Slo]
"""The limits of each part of the scenario, by its name."""


def ttft_s(record: Record) -> float:
    """From when the request was due (open loop) or sent (closed loop) to its first token; NaN without one."""
    return np.nan if record.first_token_s is None else record.first_token_s - record.started_s


def tpot_s(record: Record) -> float:
    """Mean time of an output token after the first; NaN below two tokens or without streaming."""
    if record.first_token_s is None or record.last_token_s is None or (record.output_tokens or 0) < 2:
        return np.nan
    if not record.gaps_s:
        return np.nan
    return (record.last_token_s - record.first_token_s) / ((record.output_tokens or 0) - 1)


def e2e_s(record: Record) -> float:
    """Until the last byte of the answer."""
    return record.end_s - record.started_s


def keeps(record: Record, slo: Slo) -> bool:
    """Whether the request succeeded within every limit; one of a single token keeps any limit of TPOT."""
    if not record.ok:
        return False
    limits = ((ttft_s(record), slo.ttft_s), (e2e_s(record), slo.e2e_s))
    tpot_kept = slo.tpot_s is None or not tpot_s(record) > slo.tpot_s
    return tpot_kept and all(limit is None or value <= limit for value, limit in limits)


@dataclass(frozen=True)
class Window:
    """What is measured, in seconds of the run: requests begun in it, and tokens that arrived in it."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return max(self.end_s - self.start_s, 0.0)

    def holds(self, time_s: float) -> bool:
        return self.start_s <= time_s < self.end_s


@dataclass(frozen=True)
class Samples:
    """The measured requests of a run.

    Requests that began outside of the window count for throughput alone; those that the end of the run cut off
    (`stopped`) are neither successes nor failures.
    """

    records: Sequence[Record]
    window: Window
    slos: Slos

    @cached_property
    def measured(self) -> list[Record]:
        return [record for record in self.records if self.window.holds(record.started_s) and not _stopped(record)]

    @cached_property
    def succeeded(self) -> list[Record]:
        return [record for record in self.measured if record.ok]

    @cached_property
    def stopped(self) -> int:
        return sum(map(_stopped, self.records))

    @cached_property
    def good(self) -> list[Record]:
        return [record for record in self.succeeded if keeps(record, self.slos[record.scenario])]

    @cached_property
    def ttft_s(self) -> Floats:
        return np.array([ttft_s(record) for record in self.succeeded])

    @cached_property
    def tpot_s(self) -> Floats:
        return np.array([tpot_s(record) for record in self.succeeded])

    @cached_property
    def e2e_s(self) -> Floats:
        return np.array([e2e_s(record) for record in self.succeeded])

    @cached_property
    def itl_s(self) -> Floats:
        """Gaps between neighbouring events that carry tokens, of all requests together."""
        return np.concatenate([np.empty(0), *(np.array(record.gaps_s) for record in self.succeeded)])

    @cached_property
    def send_lag_s(self) -> Floats:
        """How much later than due requests were sent; empty in a closed loop."""
        return np.array([r.sent_s - r.scheduled_s for r in self.measured if r.scheduled_s is not None])

    def of_part(self, name: str) -> "Samples":
        return Samples([record for record in self.records if record.scenario == name], self.window, self.slos)

    def tokens_in_window(self) -> float:
        """Output tokens of successful requests that arrived in the window, whenever their request began."""
        times_s, tokens = token_arrivals(self.records)
        inside = (times_s >= self.window.start_s) & (times_s < self.window.end_s)
        return float(tokens[inside].sum())

    def ended_in_window(self, records: Sequence[Record]) -> int:
        return sum(self.window.holds(record.end_s) for record in records)


def token_arrivals(records: Sequence[Record]) -> tuple[Floats, Floats]:
    """When output tokens of successful requests arrived, and how many: float64 [events] each.

    The server counts tokens by request, not by event; a request's tokens are spread evenly over its events.
    """
    times_s, tokens = [np.empty(0)], [np.empty(0)]
    for record in records:
        if not record.ok or not record.output_tokens:
            continue
        first_s = record.end_s if record.first_token_s is None else record.first_token_s
        events_s = first_s + np.concatenate([[0.0], np.cumsum(record.gaps_s)])
        times_s.append(events_s)
        tokens.append(np.full(len(events_s), record.output_tokens / len(events_s)))
    return np.concatenate(times_s), np.concatenate(tokens)


def _stopped(record: Record) -> bool:
    return record.error_kind is ErrorKind.STOPPED
