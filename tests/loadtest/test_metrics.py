"""Figures of records whose figures are known, against independent arithmetic."""

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean, quantiles

import pytest

from loadtest.distribution import distribution, wilson_interval
from loadtest.llmload.record import ErrorKind, Record
from loadtest.samples import e2e_s, keeps, tpot_s, ttft_s
from loadtest.scenario import Slo
from loadtest.scenario_files import load_scenario
from loadtest.summary import figures, read_meta, samples_of, summarize
from loadtest.timeline import timeline_of
from tests.loadtest.runs import SLO, record, samples, write_run


def test_percentiles_are_those_of_the_standard_library() -> None:
    random = Random(1)
    values = [random.lognormvariate(0, 1) for _ in range(5000)]
    expected = quantiles(values, n=1000, method="inclusive")
    found = distribution(values)
    for name, permille in (("p50", 500), ("p90", 900), ("p95", 950), ("p99", 990), ("p99.9", 999)):
        assert found[name] == pytest.approx(expected[permille - 1])
    assert found["mean"] == pytest.approx(fmean(values))
    assert (found["count"], found["min"], found["max"]) == (5000, min(values), max(values))


@pytest.mark.parametrize(("name", "needed"), [("p50", 1), ("p90", 10), ("p95", 20), ("p99", 100), ("p99.9", 1000)])
def test_a_percentile_without_enough_samples_is_not_told(name: str, needed: int) -> None:
    assert distribution([1.0] * (needed - 1))[name] is None
    assert distribution([1.0] * needed)[name] == 1.0


def test_values_that_do_not_exist_are_left_out() -> None:
    assert distribution([1.0, math.nan, 3.0])["mean"] == 2
    assert distribution([math.nan])["count"] == 0


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (7, 10), (950, 1000), (1, 3)])
def test_wilsons_interval_solves_its_equation(successes: int, trials: int) -> None:
    """Its bounds p are where the observed share lies z standard errors of p away: an equation, not the formula."""
    z = NormalDist().inv_cdf(0.975)
    for bound in wilson_interval(successes, trials):
        distance = abs(successes / trials - bound)
        assert distance == pytest.approx(z * math.sqrt(bound * (1 - bound) / trials), abs=1e-7)


def test_nothing_tried_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0, 1)


def test_latencies_of_a_closed_loop_count_from_sending() -> None:
    one = record(5.0, ttft_s=0.2, gaps_s=[0.1, 0.3])
    assert ttft_s(one) == pytest.approx(0.2)
    assert tpot_s(one) == pytest.approx(0.2)
    assert e2e_s(one) == pytest.approx(0.61)


def test_latencies_of_an_open_loop_count_from_when_the_request_was_due() -> None:
    late = record(5.0, ttft_s=0.2, gaps_s=[0.1, 0.3], late_s=2.0)
    assert ttft_s(late) == pytest.approx(2.2)
    assert e2e_s(late) == pytest.approx(2.61)
    assert tpot_s(late) == pytest.approx(0.2)
    assert figures(samples([late]))["send_lag_s"]["max"] == pytest.approx(2.0)


def test_time_per_token_counts_tokens_and_not_events() -> None:
    """Three events that carried nine tokens: eight tokens after the first in 0.4 s."""
    assert tpot_s(record(0, gaps_s=[0.1, 0.3], tokens=9)) == pytest.approx(0.05)
    assert math.isnan(tpot_s(record(0, gaps_s=[], tokens=1)))


@pytest.mark.parametrize(
    ("one", "kept"),
    [
        (record(0), True),
        (record(0, ttft_s=0.6), False),
        (record(0, gaps_s=[0.2] * 5), False),
        (record(0, gaps_s=[0.09] * 40), False),
        (record(0, gaps_s=[], tokens=1), True),
        (record(0, late_s=0.5), False),
        (record(0, error_kind=ErrorKind.SERVER_ERROR), False),
    ],
    ids=["all kept", "late first token", "slow tokens", "too long", "single token", "sent late", "failed"],
)
def test_a_request_is_good_if_it_succeeded_within_every_limit(one: Record, kept: bool) -> None:
    assert keeps(one, SLO) is kept


def test_failures_count_against_goodput_and_nothing_else() -> None:
    records = [record(1), record(2), record(3, error_kind=ErrorKind.HTTP), record(4, ttft_s=0.9)]
    found = figures(samples(records))
    assert (found["requests"], found["failures"], found["failures_by_kind"]) == (4, 1, {"http": 1})
    assert found["goodput"]["share"] == 0.5
    assert found["goodput"]["interval"] == wilson_interval(2, 4)
    assert found["ttft_s"]["count"] == 3
    assert found["output_tokens"] == 30


def test_requests_cut_off_by_the_end_are_neither_successes_nor_failures() -> None:
    found = figures(samples([record(1), record(2, error_kind=ErrorKind.STOPPED)]))
    assert (found["requests"], found["failures"], found["stopped"]) == (1, 0, 1)
    assert found["goodput"]["share"] == 1


def test_requests_of_the_warm_up_are_not_measured_but_their_tokens_in_the_window_are() -> None:
    """Ten tokens from 9.9 s on, 100 ms apart, into a window of 10 s to 20 s: the first one is outside."""
    warm = record(9.8, ttft_s=0.1, gaps_s=[0.1] * 9)
    found = figures(samples([warm, record(12)], start_s=10, end_s=20))
    assert found["requests"] == 1
    assert found["output_tokens_per_s"] == pytest.approx((9 + 10) / 10)
    assert found["requests_per_s"] == pytest.approx(2 / 10)


def test_a_server_twice_as_loaded_as_it_can_take_is_not_credited_with_what_it_does_after_the_window() -> None:
    """One answer of ten tokens a second, but two requests a second: the rate is ten, however long the rest takes."""
    records = [record(0.5 * number, ttft_s=0.5 * number, gaps_s=[0.1] * 9, late_s=0) for number in range(40)]
    found = figures(samples(records, end_s=20))
    assert found["output_tokens_per_s"] == pytest.approx(10, rel=0.05)


def test_all_gaps_between_tokens_count_alike() -> None:
    found = figures(samples([record(0, gaps_s=[0.1, 0.2]), record(1, gaps_s=[0.3])]))
    assert found["itl_s"]["count"] == 3
    assert found["itl_s"]["mean"] == pytest.approx(0.2)


def test_parts_of_a_mix_have_figures_and_limits_of_their_own(tmp_path: Path) -> None:
    records = [record(1, ttft_s=0.5), record(2, ttft_s=0.5, scenario="code-completion")]
    folder = write_run(tmp_path, records, scenario=load_scenario("mixed", ["warmup_s=0"]))
    meta = read_meta(folder)
    summary = summarize(samples_of(folder, meta), meta)
    assert summary["requests"] == 2
    assert summary["parts"]["chat"]["goodput"]["good"] == 1
    assert summary["parts"]["code-completion"]["goodput"]["good"] == 0


def test_a_timeline_accounts_for_every_token_request_and_failure() -> None:
    records: Sequence[Record] = [
        record(0.5, ttft_s=0.25, gaps_s=[0.5] * 3),
        record(1.5, gaps_s=[], error_kind=ErrorKind.HTTP),
    ]
    line = timeline_of(records)
    assert line.output_tokens.tolist() == [1, 2, 1]
    assert line.begun.tolist() == [1, 1, 0]
    assert line.under_way.tolist() == [1, 1, 0]
    assert line.errors.tolist() == [0, 1, 0]


def test_no_limit_means_that_every_success_is_good() -> None:
    assert figures(samples([record(0, ttft_s=9)], slo=Slo()))["goodput"]["share"] == 1


def test_a_run_without_requests_has_figures_that_say_so() -> None:
    found = figures(samples([]))
    assert (found["requests"], found["goodput"]["share"], found["ttft_s"]["count"]) == (0, None, 0)
