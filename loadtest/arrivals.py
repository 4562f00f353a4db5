"""When requests are due in an open loop: the same seed gives the same times, on every worker."""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from loadtest.errors import LoadTestError
from loadtest.scenario import Constant, Gamma, OpenArrivals, Poisson, Ramp, Trace


@dataclass(frozen=True)
class Arrival:
    """One request is due, seconds after the run's start; a trace may also say its lengths in tokens."""

    time_s: float
    prompt_tokens: int | None = None
    max_tokens: int | None = None


def arrivals_of(process: OpenArrivals, seed: int, folder: Path) -> Iterator[Arrival]:
    """Yield arrivals in order, without end but for a trace, whose path is relative to `folder`."""
    if isinstance(process, Trace):
        return read_trace(folder / process.file, process.speed)
    return (Arrival(time_s) for time_s in _times_s(process, Random(f"{seed}:arrivals")))


def _times_s(process: Constant | Poisson | Gamma | Ramp, random: Random) -> Iterator[float]:
    if isinstance(process, Constant):
        return (index / process.rate_per_s for index in count())
    if isinstance(process, Ramp):
        return (_ramp_time_s(process, expected) for expected in _running_sum(lambda: random.expovariate(1)))
    if isinstance(process, Gamma):
        shape = process.burstiness
        return _running_sum(lambda: random.gammavariate(shape, 1 / (shape * process.rate_per_s)))
    return _running_sum(lambda: random.expovariate(process.rate_per_s))


def _running_sum(draw_gap_s: Callable[[], float]) -> Iterator[float]:
    total = 0.0
    while True:
        total += draw_gap_s()
        yield total


def _ramp_time_s(ramp: Ramp, expected: float) -> float:
    """When `expected` arrivals are to be expected in all: the inverse of the integral of the rate."""
    slope = (ramp.to_per_s - ramp.from_per_s) / ramp.over_s
    whole_ramp = (ramp.from_per_s + ramp.to_per_s) / 2 * ramp.over_s
    if expected >= whole_ramp:
        return ramp.over_s + (expected - whole_ramp) / ramp.to_per_s
    if slope == 0:
        return expected / ramp.from_per_s
    return (math.sqrt(ramp.from_per_s**2 + 2 * slope * expected) - ramp.from_per_s) / slope


def read_trace(file: Path, speed: float = 1) -> Iterator[Arrival]:
    """Yield the arrivals of a CSV file; `speed` 2 plays it in half the time.

    Raises LoadTestError, naming file and line, for what is missing, not a number, or out of order.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            yield from _parse_trace(csv.DictReader(lines), file, speed)
    except OSError as error:
        raise LoadTestError(f"The trace {file} cannot be read: {error.strerror}.") from error


def _parse_trace(rows: "csv.DictReader[str]", file: Path, speed: float) -> Iterator[Arrival]:
    if "time_s" not in (rows.fieldnames or ()):
        raise LoadTestError(f"The trace {file} needs a first line with the column time_s; it has {rows.fieldnames}.")
    last_s = 0.0
    for row in rows:
        place = f"{file}, line {rows.line_num}"
        try:
            time_s = float(row["time_s"])
            lengths = [int(row[name]) if row.get(name) else None for name in ("prompt_tokens", "max_tokens")]
        except (TypeError, ValueError) as error:
            raise LoadTestError(f"{place}: {error}. time_s is seconds, token counts are whole numbers.") from error
        if not time_s >= last_s:
            raise LoadTestError(f"{place}: time_s {time_s:g} comes after {last_s:g}; sort the lines by time.")
        last_s = time_s
        yield Arrival(time_s / speed, *lengths)
