"""Runs under Locust itself, as processes, against the mock server: nothing is left out of what they keep."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from loadtest.llmload.journal import read_records
from loadtest.llmload.record import ErrorKind
from loadtest.mock.process import mock_server

LOCUSTFILE = Path(__file__).with_name("runner_locustfile.py")
STALL_S = 3.0


def command(url: str, *options: str) -> list[str]:
    fixed = ["-f", str(LOCUSTFILE), "--headless", "--host", url, "--stop-timeout", "5"]
    return [sys.executable, "-m", "locust", *fixed, *options]


def environment(folder: Path, **variables: float) -> dict[str, str]:
    return {**os.environ, "RUN_FOLDER": str(folder), **{name: str(value) for name, value in variables.items()}}


def run(url: str, folder: Path, *options: str, **variables: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(url, *options),
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def meta(folder: Path) -> Mapping[str, object]:
    parsed: Mapping[str, object] = json.loads((folder / "meta.json").read_text())
    return parsed


def validity(folder: Path) -> Mapping[str, Any]:
    judged: Mapping[str, Any] = meta(folder)["validity"]  # type: ignore[assignment]
    return judged


def p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def test_requests_due_while_the_server_stalls_are_sent_recorded_and_show(tmp_path: Path) -> None:
    """The stall stops answers for three seconds; 20 requests a second are due meanwhile, and all are kept."""
    with mock_server(ttft_ms=10, itl_ms=5, stall_at_s=1, stall_s=STALL_S) as url:
        finished = run(url, tmp_path, "-t", "30s", RATE=20, REQUESTS=120)
    assert finished.returncode == 0, finished.stderr
    records = read_records(tmp_path)
    assert [record.request_id for record in records] == [f"r{index}" for index in range(120)]
    assert all(record.ok for record in records)
    stalled = [record for record in records if 1.2 < record.started_s < STALL_S + 0.8]
    assert len(stalled) > 45
    lag_s = [record.sent_s - record.started_s for record in stalled]
    assert max(lag_s) < 0.5
    assert p99([record.first_token_s - record.started_s for record in records if record.first_token_s]) > STALL_S * 0.8


def test_users_of_a_closed_loop_wait_for_their_answers_and_quote_them(tmp_path: Path) -> None:
    with mock_server(ttft_ms=20, itl_ms=10) as url:
        finished = run(url, tmp_path, "-u", "3", "-r", "3", "-t", "3s")
    assert finished.returncode == 0, finished.stderr
    records = read_records(tmp_path)
    assert {record.user_id for record in records} == {"u0", "u1", "u2"}
    for user in ("u0", "u1", "u2"):
        mine = [record for record in records if record.user_id == user]
        assert len(mine) > 10
        assert all(later.sent_s >= earlier.end_s for earlier, later in pairwise(mine))
        assert (mine[0].prompt_tokens or 0) < (mine[1].prompt_tokens or 0)
    assert "/v1/chat/completions" in finished.stdout + finished.stderr


def test_workers_share_the_open_loop_without_gap_or_overlap(tmp_path: Path) -> None:
    with mock_server(ttft_ms=10, itl_ms=5) as url:
        finished = run(url, tmp_path, "-t", "30s", "--processes", "2", RATE=40, REQUESTS=80)
    assert finished.returncode == 0, finished.stderr
    records = read_records(tmp_path)
    assert [record.request_id for record in records] == [f"r{index}" for index in range(80)]
    assert [record.worker for record in records] == ["w0", "w1"] * 40
    assert len(meta(tmp_path)["workers"]) == 2  # type: ignore[arg-type]
    assert (tmp_path / "finished").exists()


def start(url: str, folder: Path, *options: str, **variables: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(url, *options),
        env=environment(folder, **variables),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_records(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if sum(path.read_bytes().count(b"\n") for path in folder.glob("records-*.jsonl")) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} records in {folder}")


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_keeps_every_record_and_merges_them(tmp_path: Path, processes: int) -> None:
    options = ["--processes", "2"] if processes == 2 else []
    with mock_server(ttft_ms=10, itl_ms=100) as url:
        running = start(url, tmp_path, "--stop-timeout", "0", *options, RATE=40, REQUESTS=4000)
        wait_for_records(tmp_path, 40)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    records = read_records(tmp_path)
    sent = [int(record.request_id[1:]) for record in records]
    assert len(sent) > 40
    assert len(set(sent)) == len(sent)
    under_way = [record for record in records if record.error_kind is ErrorKind.STOPPED]
    assert under_way
    assert {record.error_kind for record in records} == {None, ErrorKind.STOPPED}
    if processes == 1:
        assert sent == list(range(len(sent)))


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def test_a_killed_workers_records_stay_and_the_run_says_so(tmp_path: Path) -> None:
    with mock_server(ttft_ms=10, itl_ms=5) as url:
        running = start(url, tmp_path, "-t", "6s", "--processes", "2", RATE=40, REQUESTS=4000)
        wait_for_records(tmp_path, 40)
        os.kill(children_of(running.pid)[0], signal.SIGKILL)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 3, said
    assert "ended without a report" in said
    assert not validity(tmp_path)["valid"]
    assert any("ended without a report" in reason for reason in validity(tmp_path)["reasons"])
    records = read_records(tmp_path)
    by_worker = {worker: [r for r in records if r.worker == worker] for worker in ("w0", "w1")}
    assert all(len(of_worker) > 15 for of_worker in by_worker.values())
    assert len(meta(tmp_path)["workers"]) == 1  # type: ignore[arg-type]


def test_a_torn_line_makes_the_run_invalid(tmp_path: Path) -> None:
    """Such as a worker leaves whose machine died while it wrote."""
    (tmp_path / "records-w7.jsonl").write_text('{"request_id": "r')
    with mock_server(ttft_ms=10, itl_ms=5) as url:
        finished = run(url, tmp_path, "-t", "10s", RATE=20, REQUESTS=10)
    assert finished.returncode == 3, finished.stderr
    assert len(read_records(tmp_path)) == 10
    assert not validity(tmp_path)["valid"]
    assert "no records: 1" in validity(tmp_path)["reasons"][0]


def test_a_disk_that_fills_ends_the_run_and_says_what_is_lost(tmp_path: Path) -> None:
    """Files may grow to the size of the reserve and no further, as on a full disk but for each file alone."""
    limit_bytes = 1024 * 1024

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    with mock_server(ttft_ms=5, itl_ms=0) as url:
        folder = tmp_path / "run"
        finished = subprocess.run(
            command(url, "-t", "60s", "-u", "1"),
            env=environment(folder, RATE=400, REQUESTS=40_000),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=limit_files,
        )
    assert finished.returncode == 3, finished.stderr
    assert "The disk refuses records (File too large): the run ends" in finished.stderr
    kept = (folder / "records-w0.jsonl").read_bytes()
    assert 0.99 * limit_bytes < len(kept) <= limit_bytes
    assert kept.endswith(b"}\n")
    assert "records are lost" in finished.stderr
    assert any("records are lost" in reason for reason in validity(folder)["reasons"])
