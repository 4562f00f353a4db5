"""One clock for everything a run records: monotonic time, counted from the run's start."""

import time

_TRIES = 5


def realtime_offset_ns() -> int:
    """What has to be added to CLOCK_MONOTONIC to get CLOCK_REALTIME, now; steps of the system's time change it."""
    return min(_bracketed_offset() for _ in range(_TRIES))[1]


def _bracketed_offset() -> tuple[int, int]:
    """How long it took to read both clocks, and their offset: the quickest reading is the most exact."""
    before = time.monotonic_ns()
    realtime = time.time_ns()
    after = time.monotonic_ns()
    return after - before, realtime - (before + after) // 2


class RunClock:
    """Seconds since the run's start; workers share it by sharing the start's Unix time."""

    def __init__(self, started_unix_ns: int) -> None:
        self.started_unix_ns = started_unix_ns
        self._zero_ns = started_unix_ns - realtime_offset_ns()

    def now_s(self) -> float:
        return self.at_s(time.monotonic_ns())

    def at_s(self, monotonic_ns: int) -> float:
        return (monotonic_ns - self._zero_ns) / 1e9
