"""What a client says about tokens, beside what is true of them."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ITL_S = 0.05
"""Distance of the emitter's tokens. Streams begin evenly spread over it."""


@dataclass
class Measured:
    cpu_s: float = 0.0
    arrived_ns: list[list[int]] = field(default_factory=list)
    """Of each answer, when its tokens came by the client's reckoning; CLOCK_MONOTONIC."""
    emitted_ns: list[list[int]] = field(default_factory=list)
    """When they were emitted; CLOCK_MONOTONIC."""
    coalesced: int = 0
    invalid: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        answers = list(zip(self.arrived_ns, self.emitted_ns, strict=True))
        first_ms = [abs(ours[0] - true[0]) / 1e6 for ours, true in answers]
        gap_ms = [
            abs((later - earlier) - (true_later - true_earlier)) / 1e6
            for ours, true in answers
            for (earlier, later), (true_earlier, true_later) in zip(pairwise(ours), pairwise(true), strict=True)
        ]
        tokens = sum(map(len, self.emitted_ns))
        return {
            "tokens": tokens,
            "cpu_us_per_token": self.cpu_s / tokens * 1e6,
            "ttft_error_p50_ms": percentile(first_ms, 0.50),
            "ttft_error_p99_ms": percentile(first_ms, 0.99),
            "itl_error_p50_ms": percentile(gap_ms, 0.50),
            "itl_error_p99_ms": percentile(gap_ms, 0.99),
            "coalesced_share": self.coalesced / len(gap_ms),
            "invalid": self.invalid,
        }


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def report(measure: Callable[[str, int, float], Measured]) -> None:
    """Measure with the arguments of the command line and print the summary."""
    url, streams, seconds = sys.argv[1:]
    print(json.dumps(measure(url, int(streams), float(seconds)).summary()))
