"""The gate's verdict and exit code."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from loadtest.command import main
from loadtest.finish import finish_run
from loadtest.llmload.record import ErrorKind, Record
from tests.loadtest.runs import record, write_run

PASS, FAIL, USAGE, INVALID, TOO_FEW = 0, 1, 2, 3, 4


def exit_code(folder: Path, records: Sequence[Record], slo: str, *, valid: bool = True) -> int:
    run = write_run(folder / "run", records, valid=valid)
    finish_run(run)
    (folder / "slo.yaml").write_text(slo)
    return main(["gate", str(run), "--slo", str(folder / "slo.yaml")])


def answers(good: int, slow: int = 0, failed: int = 0, stopped: int = 0) -> list[Record]:
    """Slow ones take 1.5 s to the first token; the chat scenario's limit is 1 s."""
    kinds = [{}] * good + [{"ttft_s": 1.5}] * slow
    kinds += [{"error_kind": ErrorKind.HTTP}] * failed + [{"error_kind": ErrorKind.STOPPED}] * stopped
    return [record(0.01 * number, **kind) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("records", "slo", "code"),
    [
        (answers(200), "min_requests: 200", PASS),
        (answers(199), "min_requests: 200", TOO_FEW),
        (answers(200), "latency_s: {ttft: {p95: 0.11, p99: 0.11}, itl: {p99.9: 0.051}, e2e: {max: 0.6}}", PASS),
        (answers(180, slow=20), "latency_s: {ttft: {p95: 1.0}}", FAIL),
        (answers(180, slow=20), "latency_s: {ttft: {p50: 1.0}}", PASS),
        (answers(200), "latency_s: {ttft: {p99.9: 1.0}}", TOO_FEW),
        (answers(200), "min_output_tokens_per_s: 1", PASS),
        (answers(200), "min_output_tokens_per_s: 1000", FAIL),
        (answers(200), "min_requests_per_s: 1000", FAIL),
        (answers(990, failed=10), "max_failure_share: 0.1", PASS),
        (answers(800, failed=200), "max_failure_share: 0.1", FAIL),
        (answers(190, failed=10), "max_failure_share: 0.05", TOO_FEW),
        (answers(198, stopped=2), "min_requests: 100", PASS),
        (answers(197, stopped=3), "min_requests: 100", FAIL),
        (answers(0, stopped=4), "min_requests: 100", FAIL),
        (answers(1000, slow=10), "min_goodput: 0.95", PASS),
        (answers(180, slow=20), "min_goodput: 0.95", FAIL),
        (answers(97, slow=3), "min_goodput: 0.95", TOO_FEW),
    ],
)
def test_every_limit_decides(tmp_path: Path, records: list[Record], slo: str, code: int) -> None:
    assert exit_code(tmp_path, records, slo) == code


def test_a_server_that_hangs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tmp_path, answers(150, stopped=50), "max_failure_share: 0.1") == FAIL
    printed = capsys.readouterr().out
    assert "requests cut off by the end" in printed
    assert "50 of 200" in printed


def test_an_invalid_run_has_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(tmp_path, answers(200), "min_requests: 1", valid=False) == INVALID
    assert "the client was too busy" in capsys.readouterr().out


def test_a_broken_limit_fails_whatever_else_is_unknown(tmp_path: Path) -> None:
    slo = "min_requests: 1000\nlatency_s: {ttft: {p50: 0.01}}"
    assert exit_code(tmp_path, answers(100), slo) == FAIL


def test_a_run_without_requests_passes_nothing(tmp_path: Path) -> None:
    assert exit_code(tmp_path, [], "min_goodput: 0.5") == TOO_FEW


def test_the_verdict_names_what_was_asked_and_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code(tmp_path, answers(180, slow=20), "latency_s: {ttft: {p95: 0.5}}")
    printed = capsys.readouterr().out
    assert "ttft p95 at most 500 ms" in printed
    assert "1500 ms" in printed
    assert "FAIL" in printed


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        ("min_request: 5", "min_request is not a key that exists. Did you mean min_requests?"),
        ("latency_s: {ttft: {p42: 1}}", "p42"),
        ("min_goodput: 95", "less than or equal to 1"),
        ("a: [", "cannot be read"),
        ("- 1", "does not fit"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    tmp_path: Path, slo: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(tmp_path, answers(1), slo) == USAGE
    assert said in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slo.yaml").write_text("min_requests: 1")
    assert main(["gate", str(tmp_path), "--slo", str(tmp_path / "slo.yaml")]) == USAGE
    assert "no summary.json" in capsys.readouterr().err
