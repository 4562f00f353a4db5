"""What a worker notices about itself during a run: if it is too busy, its figures are its own and not the server's."""

import time
from dataclasses import dataclass, field

import gevent
import psutil

from loadtest.llmload.clock import realtime_offset_ns

INTERVAL_S = 1.0
MOST_SAMPLES = 240


@dataclass(frozen=True)
class Sample:
    at_s: float
    """Seconds since sampling began."""
    cpu_share: float
    """CPU time of the process per second, so 1.0 is one core."""
    memory_bytes: int
    """Resident memory."""


@dataclass(frozen=True)
class WorkerReport:
    """One worker's part of the run, as it stands in the run's meta.json."""

    worker: str
    written: int
    """Records in its file."""
    lost: int
    """Records that could not be written."""
    disk_failure: str | None
    """Why the disk refused a record, at first at least; the run is ended then."""
    clock_step_s: float
    """Furthest that the system's time was stepped; kernel timestamps are off by as much."""
    samples: tuple[Sample, ...] = field(default_factory=tuple)


class Sampler:
    """Samples the process once a second until it is stopped; long runs less often, so that memory stays flat."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._samples: list[Sample] = []
        self._offset_ns = realtime_offset_ns()
        self._furthest_ns = 0
        self._interval_s = INTERVAL_S
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> tuple[tuple[Sample, ...], float]:
        """The samples, and the furthest step of the system's time in seconds."""
        self._greenlet.kill()
        return tuple(self._samples), self._furthest_ns / 1e9

    def _run(self) -> None:
        began_s = at_s = time.monotonic()
        cpu_s = time.process_time()
        while True:
            gevent.sleep(self._interval_s)
            now_s, now_cpu_s = time.monotonic(), time.process_time()
            share = (now_cpu_s - cpu_s) / (now_s - at_s)
            self._samples.append(Sample(now_s - began_s, share, self._process.memory_info().rss))
            at_s, cpu_s = now_s, now_cpu_s
            if len(self._samples) == MOST_SAMPLES:
                self._halve()
            self._furthest_ns = max(self._furthest_ns, abs(realtime_offset_ns() - self._offset_ns))

    def _halve(self) -> None:
        self._interval_s *= 2
        self._samples = [
            Sample(later.at_s, (earlier.cpu_share + later.cpu_share) / 2, later.memory_bytes)
            for earlier, later in zip(self._samples[::2], self._samples[1::2], strict=True)
        ]
