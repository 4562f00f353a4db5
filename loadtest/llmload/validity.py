"""Whether a run measured the server or itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.llmload.record import Record
from loadtest.llmload.sampler import WorkerReport

FEWEST_REQUESTS = 2
"""One request that came late is a large share of a small run, and still only one event."""


@dataclass(frozen=True)
class Limits:
    """Past any of these a run is INVALID; past those of requests, if at least two of them are concerned."""

    coalesced_gap_share: float = 0.005
    """Gaps between tokens that came out of the socket together. Each spoils its neighbour too: beyond this the 99th
    percentile is unknown."""
    coalesced_first_token_share: float = 0.005
    """Requests whose first token came out of the socket with the second: beyond this TTFT's 99th percentile is
    unknown."""
    send_lag_p99_s: float = 0.020
    """Open loop: how late requests were sent. What is late here is missing in the load."""
    client_cpu_share: float = 0.85
    """CPU of the busiest worker as a share of its one core, 95th percentile over the run's seconds."""
    clock_step_s: float = 0.001
    """Furthest that the system's time was stepped while the kernel's stamps were in use."""


@dataclass(frozen=True)
class Measured:
    coalesced_gap_share: float
    coalesced_first_token_share: float
    send_lag_p99_s: float
    client_cpu_share: float
    clock_step_s: float


@dataclass(frozen=True)
class Concerned:
    """How many requests have coalesced gaps, a first token that came with the second, were sent later than allowed."""

    gaps: int
    first_tokens: int
    sends: int

    @classmethod
    def among(cls, records: Sequence[Record], limits: Limits) -> "Concerned":
        return cls(
            gaps=sum(record.coalesced_gaps > 0 for record in records),
            first_tokens=sum(record.gaps_s[:1] == (0.0,) for record in records),
            sends=sum(lag_s > limits.send_lag_p99_s for lag_s in _send_lags_s(records)),
        )


@dataclass(frozen=True)
class Validity:
    valid: bool
    reasons: tuple[str, ...]
    """One sentence for each limit that was passed, with its remedy, and for whatever was lost."""
    measured: Measured
    limits: Limits


def judge(records: Sequence[Record], workers: Sequence[WorkerReport], limits: Limits) -> Validity:
    measured = Measured(
        coalesced_gap_share=_coalesced_share(records),
        coalesced_first_token_share=_coalesced_first_share(records),
        send_lag_p99_s=_percentile(_send_lags_s(records), 0.99),
        client_cpu_share=max(
            (_percentile([sample.cpu_share for sample in worker.samples], 0.95) for worker in workers), default=0.0
        ),
        clock_step_s=max((worker.clock_step_s for worker in workers), default=0.0),
    )
    reasons = tuple(_reasons(measured, Concerned.among(records, limits), limits))
    return Validity(not reasons, reasons, measured, limits)


def _reasons(measured: Measured, concerned: Concerned, limits: Limits) -> list[str]:
    reasons = []
    if measured.coalesced_gap_share > limits.coalesced_gap_share and concerned.gaps >= FEWEST_REQUESTS:
        reasons.append(
            f"{measured.coalesced_gap_share:.1%} of the gaps between tokens, in {concerned.gaps} requests, are "
            "unknown, because the tokens came out of the socket together (limit "
            f"{limits.coalesced_gap_share:.1%}). Use more workers (--processes), or raise the limit for a server that "
            "sends several tokens at once."
        )
    first_share_passed = measured.coalesced_first_token_share > limits.coalesced_first_token_share
    if first_share_passed and concerned.first_tokens >= FEWEST_REQUESTS:
        reasons.append(
            f"{measured.coalesced_first_token_share:.1%} of the first tokens ({concerned.first_tokens} of them) came "
            "out of the socket together with the second, so that their time is unknown (limit "
            f"{limits.coalesced_first_token_share:.1%}). Use more workers (--processes)."
        )
    if measured.send_lag_p99_s > limits.send_lag_p99_s and concerned.sends >= FEWEST_REQUESTS:
        reasons.append(
            f"1 % of the requests were sent {measured.send_lag_p99_s * 1000:.1f} ms or more behind their schedule "
            f"(limit {limits.send_lag_p99_s * 1000:.1f} ms, passed by {concerned.sends} requests). Use more workers "
            "(--processes), or a lower rate."
        )
    if measured.client_cpu_share > limits.client_cpu_share:
        reasons.append(
            f"the busiest worker used {measured.client_cpu_share:.0%} of its core (limit "
            f"{limits.client_cpu_share:.0%}). Use more workers (--processes)."
        )
    if measured.clock_step_s > limits.clock_step_s:
        reasons.append(
            f"the system's time was stepped by {measured.clock_step_s * 1000:.1f} ms during the run (limit "
            f"{limits.clock_step_s * 1000:.1f} ms). Repeat the run once it is synchronized."
        )
    return reasons


def _coalesced_share(records: Sequence[Record]) -> float:
    gaps = sum(len(record.gaps_s) for record in records)
    return sum(record.coalesced_gaps for record in records) / gaps if gaps else 0.0


def _coalesced_first_share(records: Sequence[Record]) -> float:
    """Tokens that came together have the same time, others never."""
    firsts = [record.gaps_s[0] for record in records if record.gaps_s]
    return firsts.count(0.0) / len(firsts) if firsts else 0.0


def _send_lags_s(records: Sequence[Record]) -> list[float]:
    return [record.sent_s - record.scheduled_s for record in records if record.scheduled_s is not None]


def _percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank; 0 without values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0
