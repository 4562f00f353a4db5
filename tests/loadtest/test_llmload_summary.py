"""The figures of a run against values worked out by hand and by numpy."""

from pathlib import Path

import numpy as np
import pytest
from llmload.chat_record import Record
from llmload.summary import distribution, read_records, summarize

FAST = Record(
    started_unix_s=100.0,
    end_s=1.0,
    text_times_s=(0.2, 0.4, 0.8),
    prompt_tokens=7,
    completion_tokens=4,
    finish_reason="stop",
)
SLOW = Record(
    started_unix_s=101.0,
    end_s=3.0,
    text_times_s=(1.0, 2.0),
    prompt_tokens=5,
    completion_tokens=2,
    finish_reason="length",
)
FAILED = Record(
    started_unix_s=102.0, end_s=3.0, text_times_s=(0.1,), completion_tokens=50, error_kind="truncated", error="cut"
)


def test_rates_count_good_tokens_over_the_whole_run() -> None:
    figures = summarize([FAST, SLOW, FAILED])
    assert figures["duration_s"] == pytest.approx(5.0)
    assert figures["completion_tokens"] == 6
    assert figures["output_tokens_per_s"] == pytest.approx(6 / 5)
    assert figures["requests_per_s"] == pytest.approx(2 / 5)


def test_failures_are_counted_by_kind_and_leave_the_times_alone() -> None:
    figures = summarize([FAST, SLOW, FAILED])
    assert (figures["requests"], figures["failures"]) == (3, 1)
    assert figures["failures_by_kind"] == {"truncated": 1}
    assert figures["ttft_s"]["count"] == 2
    assert figures["ttft_s"]["mean"] == pytest.approx(0.6)


def test_gaps_are_pooled_and_tpot_is_per_request_by_tokens() -> None:
    figures = summarize([FAST, SLOW])
    assert figures["itl_s"]["count"] == 3
    assert figures["itl_s"]["mean"] == pytest.approx((0.2 + 0.4 + 1.0) / 3)
    assert figures["tpot_s"]["mean"] == pytest.approx(((0.8 - 0.2) / 3 + 1.0) / 2)


def test_percentiles_are_numpys_default_ones() -> None:
    values = np.random.default_rng(0).exponential(size=357)
    figures = distribution(values.tolist())
    for name, rank in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert figures[name] == pytest.approx(np.percentile(values, rank))


def test_one_value_is_every_percentile() -> None:
    assert distribution([0.5]) == {"count": 1, "mean": 0.5, "p50": 0.5, "p90": 0.5, "p99": 0.5, "max": 0.5}


def test_a_run_without_a_good_request_has_counts_and_no_times() -> None:
    figures = summarize([FAILED])
    assert figures["ttft_s"] == {"count": 0}
    assert figures["output_tokens_per_s"] == 0
    assert summarize([])["requests"] == 0


def test_records_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(record.to_json() + b"\n" for record in (FAST, FAILED)))
    assert read_records(path) == [FAST, FAILED]
