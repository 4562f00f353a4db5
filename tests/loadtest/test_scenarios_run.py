"""Every scenario for a few seconds, by Locust, against the real engine on the demo model and against the mock."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.mock.process import mock_server
from loadtest.scenario_files import scenario_names
from tests.loadtest.locust_process import LIMIT_S, command, records_of, summary_of
from tests.server.live import LiveServer

SECONDS = 3
SMALL = {
    "chat": ["arrivals.users=2", "arrivals.think_time_s=0", "max_tokens=8", "turns=2"],
    "rag-summarize": ["max_tokens=4", "prompts.distinct=4", "prompts.prompt_tokens=300"],
    "code-completion": ["max_tokens=8"],
    "shared-prefix": ["max_tokens=4", "prompts={source: synthetic, prompt_tokens: 200, shared_prefix_tokens: 150}"],
    "long-generation": ["arrivals.users=2", "max_tokens=24"],
    "burst": ["max_tokens=4", "arrivals.rate_per_s=4"],
    "ramp": ["max_tokens=4", "arrivals={process: ramp, from_per_s: 1, to_per_s: 4, over_s: 3}"],
    "soak": ["max_tokens=8"],
    "saturation": ["arrivals.users=2", "max_tokens=8"],
    "mixed": ["arrivals.users=3", "arrivals.think_time_s=0", "mix=[{scenario: code-completion}, {scenario: chat}]"],
}
"""What makes a scenario fit into the seconds that CI has, on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with mock_server(ttft_ms=20, itl_ms=2) as url:
        yield url


def run_scenarios(folder: Path, url: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """All at once, which costs the start of Locust and the seconds once; the figures are not looked at."""
    running = {}
    for name in scenario_names():
        (folder / name).mkdir()
        changes = [f"--set={change}" for change in (*SMALL[name], "warmup_s=0")]
        options = ["--headless", "--host", url, "--out", "out", "--scenario", name, "-t", f"{SECONDS}s", *changes]
        running[name] = subprocess.Popen(
            command(*options), cwd=folder / name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    ended = {}
    for name, process in running.items():
        output, _ = process.communicate(timeout=LIMIT_S)
        ended[name] = subprocess.CompletedProcess(process.args, process.returncode, output)
    return ended


def check(folder: Path, ended: dict[str, subprocess.CompletedProcess[str]]) -> None:
    for name, finished in ended.items():
        assert finished.returncode == 0, f"{name}: {finished.stdout}"
        records, summary = records_of(folder / name), summary_of(folder / name)
        assert summary["scenario"] == name
        assert summary["requests"] > 0, f"{name}: {finished.stdout}"
        assert summary["failures"] == 0, f"{name}: {summary['failures_by_kind']}"
        assert all(record.ok and record.prompt_tokens and record.output_tokens for record in records), name
        assert (folder / name / "out/report.html").exists()


def test_every_scenario_runs_against_the_mock(tmp_path: Path, mock: str) -> None:
    check(tmp_path, run_scenarios(tmp_path, mock))


def test_every_scenario_runs_against_the_engine_on_the_demo_model(tmp_path: Path, live_server: LiveServer) -> None:
    check(tmp_path, run_scenarios(tmp_path, live_server.url))
    (long_prompts,) = {record.prompt_tokens for record in records_of(tmp_path / "rag-summarize")}
    assert long_prompts == 300, "the length that was asked for is the length that the server counted"
