"""Two servers, or two versions of one, by their runs: ratios with the interval that chance explains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.distribution import Floats, wilson_interval
from loadtest.errors import LoadTestError
from loadtest.llmload.record import Record
from loadtest.samples import Samples, e2e_s, token_arrivals, tpot_s, ttft_s
from loadtest.summary import META, read_meta, samples_of

Meta = dict[str, Any]

REPLICATES = 1000
BLOCK_S = 2.0
"""Throughput is resampled in pieces of this length, because neighbouring seconds are alike."""
CONFIDENCE = (2.5, 97.5)


@dataclass(frozen=True)
class Units:
    """What one run has to resample: `values` [n] of the units `owner` [n] numbers from 0 to `count` - 1.

    The gaps of a request, for instance, are drawn together or not at all.
    """

    values: Floats
    owner: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Figure:
    """A figure to compare: its units, and the percentile of their values, or None for the mean."""

    name: str
    units: Callable[[Samples], Units]
    percent: float | None


@dataclass(frozen=True)
class Ratio:
    """B's figure over A's, and the 95 % interval of the ratio; None where a side has no such figure."""

    name: str
    a: float | None
    b: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def differs(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


def per_request(measure: Callable[[Record], float]) -> Callable[[Samples], Units]:
    def units(samples: Samples) -> Units:
        values = np.array([measure(record) for record in samples.succeeded], dtype=np.float64)
        known = values[~np.isnan(values)]
        return Units(known, np.arange(len(known)), len(known))

    return units


def gaps(samples: Samples) -> Units:
    lengths = [len(record.gaps_s) for record in samples.succeeded]
    return Units(samples.itl_s, np.repeat(np.arange(len(lengths)), lengths), len(lengths))


def tokens_per_s(samples: Samples) -> Units:
    blocks = max(1, int(samples.window.length_s / BLOCK_S))
    edges = np.linspace(samples.window.start_s, samples.window.end_s, blocks + 1)
    times_s, tokens = token_arrivals(samples.records)
    rates = np.histogram(times_s, edges, weights=tokens)[0] / np.diff(edges)
    return Units(rates, np.arange(blocks), blocks)


FIGURES = (
    Figure("output tokens/s", tokens_per_s, None),
    Figure("TTFT p50", per_request(ttft_s), 50),
    Figure("TTFT p95", per_request(ttft_s), 95),
    Figure("ITL p50", gaps, 50),
    Figure("ITL p99", gaps, 99),
    Figure("TPOT mean", per_request(tpot_s), None),
    Figure("E2E p50", per_request(e2e_s), 50),
    Figure("E2E p95", per_request(e2e_s), 95),
)


def runs_in(folder: Path) -> list[Path]:
    """The folder itself, or the runs in it, by name. Raises LoadTestError where there is none."""
    runs = [folder] if (folder / META).exists() else sorted(file.parent for file in folder.glob(f"*/{META}"))
    if not runs:
        raise LoadTestError(f"{folder} is no run's folder and holds none: {META} was not found.")
    return runs


def compare(runs_a: Sequence[Path], runs_b: Sequence[Path], seed: int = 0) -> tuple[list[Ratio], list[str]]:
    """The ratios B / A, and sentences about what makes the runs incomparable.

    With several runs a side, round i of A is resampled together with round i of B.
    """
    metas_a, metas_b = [read_meta(run) for run in runs_a], [read_meta(run) for run in runs_b]
    samples_a = [samples_of(run, meta) for run, meta in zip(runs_a, metas_a, strict=True)]
    samples_b = [samples_of(run, meta) for run, meta in zip(runs_b, metas_b, strict=True)]
    ratios = [_ratio(figure, samples_a, samples_b, np.random.default_rng(seed)) for figure in FIGURES]
    doubts = _doubts(dict(zip(runs_a, metas_a, strict=True)), dict(zip(runs_b, metas_b, strict=True)))
    return ratios, doubts + _unequal_failures(samples_a, samples_b)


def _ratio(figure: Figure, a: Sequence[Samples], b: Sequence[Samples], random: np.random.Generator) -> Ratio:
    side_a, side_b = Side(figure, a), Side(figure, b)
    value_a, value_b = side_a.value(), side_b.value()
    if not value_a or value_b is None:
        return Ratio(figure.name, value_a, value_b)
    replicates = []
    for _ in range(REPLICATES):
        rounds_a = random.integers(len(a), size=len(a))
        rounds_b = rounds_a if len(a) == len(b) else random.integers(len(b), size=len(b))
        again_a, again_b = side_a.value_again(rounds_a, random), side_b.value_again(rounds_b, random)
        if again_a and again_b is not None:
            replicates.append(again_b / again_a)
    low, high = np.percentile(replicates, CONFIDENCE) if replicates else (None, None)
    return Ratio(figure.name, value_a, value_b, value_b / value_a, low, high)


class Side:
    """The units of all runs of one side, sorted once; what is drawn from them are weights."""

    def __init__(self, figure: Figure, runs: Sequence[Samples]) -> None:
        self._percent = figure.percent
        self._units = [figure.units(run) for run in runs]
        values = np.concatenate([units.values for units in self._units])
        self._order = np.argsort(values)
        self._values = values[self._order]

    def value(self) -> float | None:
        """The figure of all runs together; None without units."""
        return self._weighted(np.ones(len(self._values)))

    def value_again(self, rounds: NDArray[np.int64], random: np.random.Generator) -> float | None:
        """The figure of units drawn from these runs, as many from each as it has."""
        drawn = [np.zeros(units.count) for units in self._units]
        for number in rounds:
            count = self._units[number].count
            if count:
                drawn[number] += np.bincount(random.integers(count, size=count), minlength=count)
        weights = [times[units.owner] for times, units in zip(drawn, self._units, strict=True)]
        return self._weighted(np.concatenate(weights)[self._order])

    def _weighted(self, weights: Floats) -> float | None:
        reached = np.cumsum(weights)
        if not len(reached) or not reached[-1]:
            return None
        if self._percent is None:
            return float(np.dot(self._values, weights) / reached[-1])
        return float(self._values[np.searchsorted(reached, reached[-1] * self._percent / 100)])


def _doubts(metas_a: Mapping[Path, Meta], metas_b: Mapping[Path, Meta]) -> list[str]:
    doubts = [f"{run} is INVALID." for run, meta in {**metas_a, **metas_b}.items() if not meta["validity"]["valid"]]
    asked_a = [_asked(meta) for meta in metas_a.values()]
    asked_b = [_asked(meta) for meta in metas_b.values()]
    if asked_a != asked_b:
        doubts.append("A and B were not asked the same: scenarios, seeds or users differ.")
    return doubts


def _asked(meta: Meta) -> tuple[Any, Any, Any]:
    """Scenario, seed and users; where the scenario's file lay does not matter."""
    return {**meta["options"]["scenario"], "folder": None}, meta["options"]["seed"], meta["options"]["users"]


def _unequal_failures(a: Sequence[Samples], b: Sequence[Samples]) -> list[str]:
    """Times are of requests that succeeded: where one side fails more, they are of other requests."""
    (failed_a, asked_a), (failed_b, asked_b) = _failures(a), _failures(b)
    (low_a, high_a), (low_b, high_b) = wilson_interval(failed_a, asked_a), wilson_interval(failed_b, asked_b)
    if high_a >= low_b and high_b >= low_a:
        return []
    return [f"A failed {failed_a} of {asked_a} requests and B {failed_b} of {asked_b}: the times leave these out."]


def _failures(runs: Sequence[Samples]) -> tuple[int, int]:
    """How many of the measured requests failed, and how many were measured."""
    measured = sum(len(run.measured) for run in runs)
    return measured - sum(len(run.succeeded) for run in runs), measured
