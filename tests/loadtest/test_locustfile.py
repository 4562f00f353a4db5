"""Locust itself with our locustfile: its own flags, ours, workers, and the web page."""

import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from loadtest.mock.process import mock_server
from tests.loadtest.locust_process import LIMIT_S, command, records_of, run_locust, summary_of

OPEN = ("--scenario", "burst", "--set", "arrivals={process: constant, rate_per_s: 20}", "--set", "warmup_s=0")


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with mock_server(ttft_ms=30, itl_ms=5, tokens=4) as url:
        yield url


@pytest.fixture(scope="module")
def chat_run(tmp_path_factory: pytest.TempPathFactory, mock: str) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    flags = "-u 3 -r 3 -t 3s --csv figures --json-file figures --html locust.html --set arrivals.think_time_s=0"
    finished = run_locust(folder, mock, *flags.split())
    assert finished.returncode == 0, finished.stderr
    return folder


def test_the_summary_agrees_with_the_records(chat_run: Path) -> None:
    summary, records = summary_of(chat_run), records_of(chat_run)
    measured = [record for record in records if 0.6 <= record.started_s < 3]
    assert summary["scenario"] == "chat"
    assert summary["requests"] == len(measured) > 20
    assert summary["output_tokens"] == 4 * len(measured)
    assert summary["failures"] == 0
    assert 0.025 < summary["ttft_s"]["p50"] < 0.1


def test_users_are_a_closed_loop_of_conversations(chat_run: Path) -> None:
    """Three users who wait 45 ms for each answer cannot ask more often than 3 / 0.045 times a second."""
    assert summary_of(chat_run)["requests_per_s"] < 3 / 0.045
    records = records_of(chat_run)
    assert {record.user_id for record in records} == {"u0", "u1", "u2"}
    by_session: dict[str | None, list[int]] = {}
    for record in records:
        by_session.setdefault(record.session_id, []).append(record.prompt_tokens or 0)
    assert any(len(lengths) > 1 for lengths in by_session.values())
    assert all(lengths == sorted(lengths) for lengths in by_session.values()), "a later turn quotes the earlier ones"


def test_locusts_own_reports_are_written_too(chat_run: Path) -> None:
    assert "/v1/chat/completions" in (chat_run / "locust.html").read_text()
    assert "/v1/chat/completions" in (chat_run / "figures_stats.csv").read_text()
    (entry,) = orjson.loads((chat_run / "figures.json").read_bytes())
    assert entry["num_requests"] == len(records_of(chat_run))


def test_the_server_is_scraped_alongside(chat_run: Path) -> None:
    lines = [orjson.loads(line) for line in (chat_run / "out/server.jsonl").read_bytes().splitlines()]
    assert 2 <= len(lines) <= 6
    assert max(line["values"]["tgi_batch_current_size"] for line in lines) >= 1
    assert "The server&#39;s own queue" in (chat_run / "out/report.html").read_text()


def test_workers_together_send_what_one_process_sends(tmp_path: Path, mock: str) -> None:
    def requests(name: str, *flags: str) -> list[tuple[str, int, int | None]]:
        folder = tmp_path / name
        folder.mkdir()
        finished = run_locust(folder, mock, *OPEN, "-t", "2s", "--seed", "7", *flags)
        assert finished.returncode == 0, finished.stderr
        sent = sorted(records_of(folder), key=lambda record: record.scheduled_s or 0)
        return [(record.request_id, record.requested_max_tokens, record.prompt_tokens) for record in sent]

    alone, together = requests("alone"), requests("together", "--processes", "2")
    assert alone == together
    assert len(alone) == 40, "2 s of 20 a second, of which none may be dropped at the end"
    assert len({record.worker for record in records_of(tmp_path / "together")}) == 2


def test_workers_that_were_started_by_themselves_need_no_options_of_ours(tmp_path: Path, mock: str) -> None:
    with free_port() as port:
        link = ("--master-port", str(port), "--master-host", "127.0.0.1")
    worker = subprocess.Popen(command("--worker", *link), cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        flags = ("--master", "--master-bind-port", str(port), "--expect-workers", "1", "-t", "2s")
        finished = run_locust(tmp_path, mock, *OPEN, *flags)
        assert finished.returncode == 0, finished.stderr
        assert summary_of(tmp_path)["requests"] == 40
        assert worker.wait(timeout=LIMIT_S) == 0
    finally:
        worker.kill()


def test_tags_choose_what_is_sent(tmp_path: Path, mock: str) -> None:
    finished = run_locust(tmp_path, mock, "--tags", "code", "-t", "2s", "--set", "arrivals.think_time_s=0")
    assert finished.returncode == 0, finished.stderr
    assert summary_of(tmp_path)["scenario"] == "mixed"
    assert {record.scenario for record in records_of(tmp_path)} == {"code-completion"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scenario", "chatt"), "There is no scenario 'chatt'"),
        (("--set", "max_token=3"), "Did you mean max_tokens?"),
        (("--scenario", "rag-summarize", "--host", "http://127.0.0.1:9"), "/chat_tokenize does not do it"),
        (("--read-timeout", "0"), "--read-timeout"),
    ],
)
def test_options_that_make_no_sense_end_it_with_2_before_anything_is_sent(
    tmp_path: Path, mock: str, options: tuple[str, ...], said: str
) -> None:
    finished = run_locust(tmp_path, mock, "-t", "2s", *options)
    assert finished.returncode == 2
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()


def test_a_failure_inside_http_200_fails_the_run(tmp_path: Path) -> None:
    with mock_server(error_rate=1, ttft_ms=50) as url:
        finished = run_locust(tmp_path, url, "-t", "1s", "-u", "2")
    assert finished.returncode == 1
    summary = summary_of(tmp_path)
    assert summary["failures"] == summary["requests"] > 0
    assert summary["failures_by_kind"] == {"server_error": summary["failures"]}
    assert summary["goodput"]["share"] == 0


def test_a_second_run_does_not_overwrite_the_first(chat_run: Path, mock: str) -> None:
    before = summary_of(chat_run)
    assert run_locust(chat_run, mock, "-t", "1s").returncode == 0
    assert len(list(chat_run.glob("out*/summary.json"))) == 2
    assert summary_of(chat_run) == before


def test_a_crashed_runs_records_are_not_taken_for_the_next_runs(tmp_path: Path, mock: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/records-w9.jsonl").write_text("another run's\n")
    assert run_locust(tmp_path, mock, "-t", "1s").returncode == 0
    assert [folder.parent.name for folder in tmp_path.glob("out*/summary.json")] != ["out"]
    assert not (tmp_path / "out/records.jsonl").exists()


def test_ctrl_c_keeps_what_there_is(tmp_path: Path, mock: str) -> None:
    options = ("--headless", "--host", mock, "--out", "out", "-t", "60s", "--set", "warmup_s=0", "-u", "2")
    running = subprocess.Popen(command(*options), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: (tmp_path / "out/records-w0.jsonl").exists())
    time.sleep(1.5)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=LIMIT_S)
    summary = summary_of(tmp_path)
    assert summary["requests"] > 1
    assert 1 < summary["window_s"] < 10, "rates are of the time until Ctrl-C, not of the time that was planned"
    assert (tmp_path / "out/report.html").exists()


def test_the_web_page_runs_the_scenario_that_its_form_names(tmp_path: Path, mock: str) -> None:
    with free_port() as port:
        page = f"http://127.0.0.1:{port}"
    options = ("--web-host", "127.0.0.1", "--web-port", str(port), "--host", mock, "--out", "out")
    running = subprocess.Popen(command(*options), cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        assert "scenario" in page_at(page)
        form = {"user_count": "2", "spawn_rate": "2", "host": mock, "run_time": "2s", "scenario": "long-generation"}
        form |= {"seed": "3", "api_key": "", "connect_timeout": "5", "read_timeout": "30"}
        answer = urllib.request.urlopen(f"{page}/swarm", urllib.parse.urlencode(form).encode(), timeout=30).read()
        assert orjson.loads(answer)["success"]
        wait_for(lambda: (tmp_path / "out/report.html").exists(), 30)
        summary = summary_of(tmp_path)
        assert (summary["scenario"], summary["seed"]) == ("long-generation", 3)
        assert summary["requests"] > 2
    finally:
        running.terminate()
        running.wait(LIMIT_S)


@contextmanager
def free_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        yield probe.getsockname()[1]


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def page_at(url: str, limit_s: float = 20) -> str:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return str(urllib.request.urlopen(url, timeout=5).read().decode())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
