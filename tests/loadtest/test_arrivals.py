"""When requests are due: the statistics of each process, and the same times for the same seed."""

import math
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean, stdev

import pytest

from loadtest.arrivals import arrivals_of, read_trace
from loadtest.errors import LoadTestError
from loadtest.scenario import Constant, Gamma, OpenArrivals, Poisson, Ramp, Trace

HERE = Path()
PROCESSES = (
    Constant(process="constant", rate_per_s=4),
    Poisson(process="poisson", rate_per_s=4),
    Gamma(process="gamma", rate_per_s=4, burstiness=0.25),
    Ramp(process="ramp", from_per_s=1, to_per_s=9, over_s=100),
)


def times_s(process: OpenArrivals, count: int, seed: int = 1) -> list[float]:
    return [arrival.time_s for arrival in islice(arrivals_of(process, seed, HERE), count)]


def gaps_s(process: OpenArrivals, count: int) -> list[float]:
    return [later - earlier for earlier, later in pairwise([0.0, *times_s(process, count)])]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.process)
def test_the_same_seed_gives_the_same_times_in_order(process: OpenArrivals) -> None:
    assert times_s(process, 500) == times_s(process, 500)
    assert times_s(process, 500) == sorted(times_s(process, 500))


@pytest.mark.parametrize("process", PROCESSES[1:], ids=lambda process: process.process)
def test_another_seed_gives_other_times(process: OpenArrivals) -> None:
    assert times_s(process, 20, seed=1) != times_s(process, 20, seed=2)


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert times_s(PROCESSES[0], 5) == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(("process", "shape"), [(PROCESSES[1], 1.0), (PROCESSES[2], 0.25)], ids=["poisson", "gamma"])
def test_gaps_have_the_mean_and_spread_of_their_distribution(process: OpenArrivals, shape: float) -> None:
    """A gamma distribution of shape k has a coefficient of variation of 1 / sqrt(k); Poisson's gaps are k = 1."""
    gaps = gaps_s(process, 20000)
    assert fmean(gaps) == pytest.approx(0.25, rel=0.05)
    assert stdev(gaps) / fmean(gaps) == pytest.approx(1 / math.sqrt(shape), rel=0.05)


def test_a_ramp_reaches_its_rate_and_stays_there() -> None:
    """From 1/s to 9/s over 100 s: by the rate's integral 150 in the first half, 350 in the second, then 9 a second."""
    runs = [times_s(PROCESSES[3], 2000, seed) for seed in range(20)]
    for start_s, end_s, expected in ((0, 50, 150), (50, 100, 350), (100, 200, 900)):
        found = fmean(sum(start_s <= time_s < end_s for time_s in times) for times in runs)
        assert found == pytest.approx(expected, abs=4 * math.sqrt(expected / len(runs)))


@pytest.mark.parametrize(("start", "end"), [(0, 5), (5, 0.5), (5, 5)])
def test_a_ramp_may_start_at_nothing_fall_or_be_level(start: float, end: float) -> None:
    times = times_s(Ramp(process="ramp", from_per_s=start, to_per_s=end, over_s=200), 2000)
    assert sum(time_s < 200 for time_s in times) == pytest.approx((start + end) / 2 * 200, rel=0.2)
    assert times == sorted(times)


def test_a_trace_is_played_at_the_speed_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s,prompt_tokens,max_tokens\n0,10,5\n1.5,,\n4,30,7\n")
    played = list(arrivals_of(Trace(process="trace", file="t.csv", speed=2), 0, tmp_path))
    assert [(a.time_s, a.prompt_tokens, a.max_tokens) for a in played] == [(0, 10, 5), (0.75, None, None), (2, 30, 7)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seconds\n1\n", "needs a first line with the column time_s"),
        ("time_s\n2\n1\n", "line 3: time_s 1 comes after 2"),
        ("time_s\nsoon\n", "line 2: could not convert"),
        ("time_s\nnan\n", "line 2: time_s nan"),
        ("time_s,max_tokens\n1,2.5\n", "line 2: invalid literal"),
    ],
)
def test_a_trace_that_cannot_be_played_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(LoadTestError, match=said):
        list(read_trace(tmp_path / "t.csv"))


def test_a_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=r"t\.csv cannot be read"):
        list(read_trace(tmp_path / "t.csv"))
