"""When a run says that it measured itself: each limit, just within it and just past it."""

from dataclasses import replace

import gevent
import pytest

from loadtest.llmload import sampler
from loadtest.llmload.record import Record
from loadtest.llmload.sampler import Sample, Sampler, WorkerReport
from loadtest.llmload.validity import Limits, Validity, judge
from tests.loadtest.test_journal import RECORD

LIMITS = Limits(coalesced_gap_share=0.01, send_lag_p99_s=0.02, client_cpu_share=0.85, clock_step_s=0.001)
IDLE = WorkerReport(
    "w0", written=1, lost=0, disk_failure=None, clock_step_s=0.0, samples=(Sample(1.0, 0.1, 50_000_000),)
)


def run_of(records: list[Record], *workers: WorkerReport) -> Validity:
    return judge(records, workers or (IDLE,), LIMITS)


def lagging(count: int, late: int, lag_s: float) -> list[Record]:
    return [replace(RECORD, scheduled_s=1.0, sent_s=1.0 + (lag_s if i < late else 0.001)) for i in range(count)]


def test_a_run_within_every_limit_is_valid() -> None:
    verdict = run_of([RECORD])
    assert verdict.valid
    assert verdict.reasons == ()


def test_a_run_without_a_request_is_not_invalid_by_itself() -> None:
    assert run_of([]).valid


@pytest.mark.parametrize(("gaps", "valid"), [(100, True), (99, False)])
def test_coalesced_gaps_past_their_share(gaps: int, valid: bool) -> None:
    verdict = run_of([replace(RECORD, gaps_s=(0.1,) * gaps, coalesced_gaps=1)] * 2)
    assert verdict.measured.coalesced_gap_share == pytest.approx(1 / gaps)
    assert verdict.valid is valid
    assert valid or "in 2 requests" in verdict.reasons[0]


@pytest.mark.parametrize(("concerned", "valid"), [(1, True), (2, False)])
def test_one_event_in_a_small_run_does_not_make_it_invalid(concerned: int, valid: bool) -> None:
    """A single request of ten is past each share: it was late, its gaps and first token are unknown."""
    joined = [replace(record, gaps_s=(0.0, 0.1), coalesced_gaps=2) for record in lagging(concerned, concerned, 0.5)]
    apart = [replace(record, gaps_s=(0.1, 0.1)) for record in lagging(10 - concerned, 0, 0.5)]
    verdict = run_of(joined + apart)
    assert verdict.measured.coalesced_gap_share > LIMITS.coalesced_gap_share
    assert verdict.measured.coalesced_first_token_share > LIMITS.coalesced_first_token_share
    assert verdict.measured.send_lag_p99_s > LIMITS.send_lag_p99_s
    assert len(verdict.reasons) == (0 if valid else 3)
    assert all("2 requests" in reason or "2 of them" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("late", "valid"), [(1, True), (2, False)])
def test_requests_sent_behind_their_schedule(late: int, valid: bool) -> None:
    """Of 100, the 99th percentile is the 99th by size: one late request does not show in it, two do."""
    verdict = run_of(lagging(100, late, 0.5))
    assert verdict.valid is valid
    assert valid or "behind their schedule" in verdict.reasons[0]


@pytest.mark.parametrize(("together", "valid"), [(1, True), (2, False)])
def test_first_tokens_that_came_together_with_the_second(together: int, valid: bool) -> None:
    """Their gaps alone, two of 20,000, would not be noticed."""
    apart, joined = replace(RECORD, gaps_s=(0.1,) * 100), replace(RECORD, gaps_s=(0.0, *(0.1,) * 99), coalesced_gaps=1)
    verdict = run_of([joined] * together + [apart] * (200 - together))
    assert verdict.valid is valid
    assert valid or "together with the second" in verdict.reasons[0]


def test_a_closed_loop_has_no_schedule_to_lag_behind() -> None:
    assert run_of([RECORD] * 100).measured.send_lag_p99_s == 0.0


def test_the_busiest_worker_decides() -> None:
    busy = replace(IDLE, worker="w1", samples=tuple(Sample(float(i), 0.97, 1) for i in range(20)))
    verdict = run_of([RECORD], IDLE, busy)
    assert verdict.measured.client_cpu_share == pytest.approx(0.97)
    assert "97% of its core" in verdict.reasons[0]


def test_a_moment_of_high_load_does_not_decide() -> None:
    samples = tuple(Sample(float(i), 1.0 if i == 7 else 0.3, 1) for i in range(40))
    assert run_of([RECORD], replace(IDLE, samples=samples)).valid


def test_a_step_of_the_systems_time() -> None:
    verdict = run_of([RECORD], replace(IDLE, clock_step_s=0.25))
    assert "stepped by 250.0 ms" in verdict.reasons[0]


def test_every_limit_that_was_passed_is_named() -> None:
    busy = replace(IDLE, clock_step_s=1.0, samples=(Sample(1.0, 1.0, 1),))
    records = [replace(record, gaps_s=(0.0,), coalesced_gaps=1) for record in lagging(10, 10, 1.0)]
    assert len(run_of(records, busy).reasons) == 5


def test_a_long_runs_samples_stay_few_and_keep_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.002)
    monkeypatch.setattr(sampler, "MOST_SAMPLES", 16)
    running = Sampler()
    gevent.sleep(0.5)
    samples, _ = running.stop()
    assert 4 <= len(samples) <= 16
    assert [sample.at_s for sample in samples] == sorted(sample.at_s for sample in samples)
    assert samples[-1].at_s - samples[-2].at_s > 0.008
