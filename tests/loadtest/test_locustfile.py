"""Locust itself, headless, against the scripted server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loadtest.scripted_server import DONE, Pause, Step, event, serving, text, usage

LOCUSTFILE = Path(__file__).parents[2] / "loadtest/locustfile.py"
GOOD = [Pause(0.05), text("a"), Pause(0.02), text("b", "stop"), usage(3, 2), DONE]


def run_locust(script: list[Step], folder: Path) -> subprocess.CompletedProcess[str]:
    with serving(script) as url:
        command = f"-f {LOCUSTFILE} --headless -u 3 -r 3 -t 3s --stop-timeout 5 --host {url} --html report.html"
        return subprocess.run(
            [sys.executable, "-m", "locust", *command.split()],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    finished = run_locust(GOOD, folder)
    assert finished.returncode == 0, finished.stderr
    return folder


def test_the_summary_agrees_with_the_records(good_run: Path) -> None:
    summary = json.loads((good_run / "summary.json").read_text())
    records = [json.loads(line) for line in (good_run / "records.jsonl").read_text().splitlines()]
    assert summary["requests"] == len(records) > 10
    assert summary["failures"] == 0
    assert summary["completion_tokens"] == 2 * len(records)
    assert 0.045 < summary["ttft_s"]["p50"] < 0.1
    assert 0.015 < summary["itl_s"]["p50"] < 0.05


def test_users_are_a_closed_loop(good_run: Path) -> None:
    """Three users who wait 70 ms for each answer cannot ask more often than 3 / 0.07 times a second."""
    summary = json.loads((good_run / "summary.json").read_text())
    assert 10 < summary["requests_per_s"] < 3 / 0.07


def test_the_html_report_is_written(good_run: Path) -> None:
    assert "/v1/chat/completions" in (good_run / "report.html").read_text()


def test_a_failure_inside_http_200_fails_the_run(tmp_path: Path) -> None:
    overloaded = event({"error": {"message": "Model is overloaded", "http_status_code": 422}})
    finished = run_locust([Pause(0.1), overloaded, DONE], tmp_path)
    assert finished.returncode == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["failures"] == summary["requests"] > 0
    assert summary["failures_by_kind"] == {"stream": summary["failures"]}
