"""Running the server: keys, origins, limits on bodies, starting and stopping."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.quantize.fake_hub import GATED, PRESENT, FakeHub
from tests.server.live import COMMAND, LiveServer

GENERATE = {"inputs": "A", "parameters": {"max_new_tokens": 1}}
CHAT = {"messages": [{"role": "user", "content": "A"}], "max_tokens": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/generate",
        "/generate_stream",
        "/invocations",
        "/tokenize",
        "/v1/chat/completions",
        "/v1/completions",
        "/vertex",
    ],
)
def test_generating_needs_the_api_key(small_server: LiveServer, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        response = httpx.post(small_server.url + path, json={**GENERATE, **CHAT, "prompt": "A"}, headers=headers)
        assert (response.status_code, response.content) == (401, b"")


def test_the_rest_is_open(small_server: LiveServer) -> None:
    for path in ("/", "/health", "/info", "/metrics", "/v1/models", "/docs"):
        assert httpx.get(small_server.url + path).status_code == 200
    assert httpx.post(f"{small_server.url}/chat_tokenize", json=CHAT).status_code == 200


def test_the_key_may_be_written_in_any_case(small_server: LiveServer) -> None:
    headers = {"authorization": "bearer SECRET"}
    assert httpx.post(f"{small_server.url}/generate", json=GENERATE, headers=headers).status_code == 200


def test_a_body_over_the_limit_is_refused(small_server: LiveServer) -> None:
    large = json.dumps({"inputs": "A" * 1000}).encode()
    headers = {"content-type": "application/json"}
    declared = small_server.http.post("/generate", content=large, headers=headers)
    in_chunks = small_server.http.post("/generate", content=iter([large[:600], large[600:]]), headers=headers)
    for response in (declared, in_chunks):
        expected = (413, "Failed to buffer the request body: length limit exceeded")
        assert (response.status_code, response.text) == expected


def test_a_body_that_a_client_does_not_finish_is_not_run(server: LiveServer) -> None:
    asked = server.metric("tgi_request_count")
    body = json.dumps(GENERATE).encode()
    head = ["POST /generate HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body) + 1}"]
    with socket.create_connection(server.address) as client:
        client.sendall("\r\n".join([*head, "", ""]).encode() + body)
    server.generate("A", max_new_tokens=1)
    assert server.metric("tgi_request_count") == asked + 1
    assert "Traceback" not in server.log
    assert "without starting response" not in server.log


def test_browsers_may_call_from_allowed_origins_only(server: LiveServer, small_server: LiveServer) -> None:
    allowed = "access-control-allow-origin"
    ours, foreign = {"origin": "https://example.org"}, {"origin": "https://example.com"}
    assert small_server.http.get("/info", headers=ours).headers[allowed] == "https://example.org"
    assert allowed not in small_server.http.get("/info", headers=foreign).headers
    assert server.http.get("/info", headers=foreign).headers[allowed] == "*"
    ask = {**foreign, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert server.http.options("/generate", headers=ask).status_code == 200


def test_the_compute_type_can_be_named(small_server: LiveServer) -> None:
    assert small_server.post("/generate", GENERATE).headers["x-compute-type"] == "2-core"


def test_sigterm_lets_running_streams_end_and_exits_with_0(served_model: Path, tmp_path: Path) -> None:
    live = LiveServer(served_model, tmp_path / "log", "--json-output")
    body = {"inputs": "A", "parameters": {"max_new_tokens": 700, "details": True}}
    exit_codes: list[int] = []
    stopping = threading.Thread(target=lambda: exit_codes.append(live.terminate()))
    with live.stream("/generate_stream", body) as events:
        next(events)
        stopping.start()
        *_, last = events
    stopping.join()
    assert exit_codes == [0]
    assert last["index"] == last["details"]["generated_tokens"] == 700
    lines_logged = (tmp_path / "log").read_text().splitlines()
    assert {"timestamp", "level", "message"} <= set(json.loads(lines_logged[-1]))


def test_the_time_for_running_streams_ends(served_model: Path, tmp_path: Path) -> None:
    """The streams would take 16,000 steps; the end of the process alone takes seconds on a busy machine."""
    live = LiveServer(served_model, tmp_path / "log", "--graceful-termination-timeout", "1", "--max-batch-size", "1")
    body = {"inputs": "A", "parameters": {"max_new_tokens": 2000}}
    with contextlib.ExitStack() as open_streams:
        for _ in range(8):
            open_streams.enter_context(live.stream("/generate_stream", body))
        started = time.monotonic()
        assert live.terminate() == 0
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model-id", "/no/such/model"], "--model-id /no/such/model is no directory"),
        ([], "no model: give --model-id"),
        (["--model-id", "x", "--quantize", "gptq"], "--quantize gptq is not served here"),
        (["--model-id", "x", "--num-shard", "2"], "--num-shard 2 has no meaning here: one process serves the model"),
        (["--model-id", "x", "--lora-adapters", "a=b=c"], "--lora-adapters 'a=b=c' is no adapter"),
        (["--model-id", "x", "--port", "70000"], "port 70000 of 0.0.0.0 cannot be used"),
    ],
)
def test_a_start_that_cannot_work_ends_with_a_sentence(options: list[str], sentence: str) -> None:
    result = _serve(*options)
    assert result.returncode == 1
    assert result.stderr.startswith(f"tgi-autoround: {sentence}")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("model_id", "sentence"),
    [
        ("someone/absent", "someone/absent is neither a directory here nor a model on the hub"),
        (GATED, f"{GATED} is gated: accept its terms on the hub and set HF_TOKEN"),
        ("not a name", "not a name is neither a directory nor a hub id"),
    ],
)
def test_a_model_that_cannot_be_had_is_named(hub: FakeHub, tmp_path: Path, model_id: str, sentence: str) -> None:
    result = _serve("--model-id", model_id, "--port", "0", HF_ENDPOINT=hub.address, HF_HOME=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith(f"tgi-autoround: {sentence}")
    assert "Traceback" not in result.stderr


def test_a_hub_out_of_reach_is_said_to_be(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    result = _serve("--model-id", PRESENT, "--port", "0", HF_ENDPOINT=nobody, HF_HOME=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith(f"tgi-autoround: {PRESENT} is no directory here, and cannot be downloaded: ")


def test_a_taken_port_is_named(server: LiveServer, served_model: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    result = _serve("--model-id", str(served_model), "--hostname", "127.0.0.1", "--port", port)
    assert result.returncode == 1
    expected = f"tgi-autoround: port {port} of 127.0.0.1 is taken by another program; choose another with --port"
    assert result.stderr.strip() == expected


def _serve(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **environment}
    return subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
