"""What a running server tells of its requests: log lines as TGI's, traces to an OpenTelemetry collector."""

import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import BaseModel

from tests.server.live import COMMAND, LiveServer, wait_for
from tgi_autoround.server import rust
from tgi_autoround.server.schemas.generate import GenerateParameters
from tgi_autoround.server.spans import Spans

TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = ("validation", "queue", "inference")


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self) -> None:
        self.services: set[str] = set()
        self.spans: list[Span] = []
        self._lock = threading.Lock()

    def Export(self, request, context):
        with self._lock:
            for resource in request.resource_spans:
                self.services |= {
                    one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                }
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    service = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"http://127.0.0.1:{port}"
    server.stop(None)


def attributes(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


def test_requests_are_traced_under_the_callers_trace_and_logged_as_tgi_logs_them(
    served_model: Path, tmp_path: Path
) -> None:
    with collector() as (service, endpoint):
        live = LiveServer(
            served_model, tmp_path / "log", "--json-output", "--otlp-endpoint", endpoint, "--otlp-service-name", "mine"
        )
        parameters = {"max_new_tokens": 3, "do_sample": True, "seed": 7, "stop": ["x\ny"]}
        headers = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
        live.http.post("/generate", json={"inputs": "A", "parameters": parameters}, headers=headers)
        list(live.events("/generate_stream", {"inputs": "A", "parameters": {"max_new_tokens": 2}}))
        chat = {"messages": [{"role": "user", "content": "A"}], "max_tokens": 2}
        live.post("/v1/chat/completions", chat)
        live.post("/generate", {"inputs": "A", "parameters": {"temperature": -1.0}})
        assert live.terminate() == 0
    assert service.services == {"mine"}
    (generate,) = [span for span in service.named("generate") if span.status.code != Status.STATUS_CODE_ERROR]
    assert (generate.trace_id.hex(), generate.parent_span_id.hex()) == (TRACE_ID, CALLER)
    for stage in STAGES:
        assert generate.span_id in {span.parent_span_id for span in service.named(stage)}
    (failed,) = [span for span in service.named("generate") if span.status.code == Status.STATUS_CODE_ERROR]
    assert "`temperature` must be strictly positive" in failed.status.message
    assert (len(service.named("generate_stream")), len(service.named("chat_completions"))) == (1, 1)

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    first, second, third = [line for line in lines if line["message"] == "Success"]
    assert first["level"] == "INFO"
    assert first["span"] == {**attributes(generate), "name": "generate"}
    assert first["spans"] == [first["span"]]
    assert list(first["span"]) == [
        "parameters",
        *(f"{stage}_time" for stage in ("total", *STAGES)),
        "time_per_token",
        "seed",
        "name",
    ]
    assert first["span"]["seed"] == "Some(7)"
    assert first["span"]["parameters"] == (
        "GenerateParameters { best_of: None, temperature: None, repetition_penalty: None, frequency_penalty: None, "
        "top_k: None, top_p: None, typical_p: None, do_sample: true, max_new_tokens: Some(3), return_full_text: None, "
        'stop: ["x\\ny"], truncate: None, watermark: false, details: false, decoder_input_details: false, '
        "seed: Some(7), top_n_tokens: None, grammar: None, adapter_id: None }"
    )
    assert [second["span"]["name"], second["span"]["seed"]] == ["generate_stream", "None"]
    assert third["span"]["name"] == "chat_completions"
    assert third["span"]["parameters"].startswith("GenerateParameters { best_of: None")
    assert "max_new_tokens: Some(2)" in third["span"]["parameters"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"messages": [{"role": "user", "content": "A"}]}, "chat_completions{parameters="),
        ({"prompt": "A"}, "completions{total_time="),
    ],
)
def test_an_invocation_is_logged_as_the_route_of_its_body(
    server: LiveServer, body: dict[str, object], name: str, stream: bool
) -> None:
    server.http.post("/invocations", json={**body, "max_tokens": 2, "stream": stream})
    assert f" INFO {name}" in [line for line in server.log.splitlines() if line.endswith(": Success")][-1]


def test_the_parameters_of_a_span_are_written_when_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr(rust, "struct", lambda parameters: written.append(parameters) or "text")
    with Spans(None).request(GenerateParameters(), streams=False) as span:
        pass
    assert written == []
    assert span.fields == {"parameters": "text"}


def test_a_log_line_for_people_has_the_same_fields(server: LiveServer) -> None:
    server.generate("A", max_new_tokens=2)
    line = [line for line in server.log.splitlines() if line.endswith(": Success")][-1]
    assert "  INFO generate{parameters=GenerateParameters { best_of: None" in line
    assert '} total_time="' in line
    assert ' seed="None"}: tgi_autoround.server.infer: infer.py:' in line


def test_what_clients_send_cannot_begin_a_line_of_the_log(server: LiveServer) -> None:
    forged = "2026-01-01T00:00:00.000000Z  INFO forged"
    tool_choice = f"x\n{forged}\x1b[31m\x85"
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    messages = [{"role": "user", "content": "A"}]
    server.post("/v1/chat/completions", {"messages": messages, "tools": [tool], "tool_choice": tool_choice})
    (line,) = [line for line in server.log.split("\n") if forged in line]
    assert f"x\\n{forged}\\x1b[31m\\x85" in line
    assert not line.startswith(forged)


def test_a_missing_package_is_named(served_model: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["opentelemetry.exporter"] = None\n')
    command = [*COMMAND, "--model-id", str(served_model), "--port", "0", "--otlp-endpoint", "http://127.0.0.1:9"]
    environment = {"PATH": "", "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("install it with: pip install 'tgi-autoround[otlp]'")
    assert "Traceback" not in result.stderr


def test_the_batch_is_reported_empty_when_nothing_is_left(server: LiveServer) -> None:
    server.generate("A", max_new_tokens=2)
    for gauge in ("tgi_batch_current_size", "tgi_batch_current_max_tokens", "tgi_queue_size"):
        assert wait_for(lambda gauge=gauge: server.metric(gauge) == 0)


def test_reused_prompts_are_counted(server: LiveServer) -> None:
    prompt = "A prompt that is longer than a block of tokens, so that it can be found again. " * 4
    server.generate(prompt, max_new_tokens=1)
    asked, reused = (server.metric(f"tgi_prefix_cache_{kind}_tokens") for kind in ("query", "hit"))
    server.generate(prompt, max_new_tokens=1)
    assert wait_for(lambda: server.metric("tgi_prefix_cache_hit_tokens") - reused >= 32)
    assert server.metric("tgi_prefix_cache_query_tokens") > asked
    assert server.metric("tgi_batch_preemptions") == 0


class Example(BaseModel):
    """Fields of a struct in Rust."""

    name: str | None = None
    many: list[str] = []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.5, "1.5s"),
        (0.02025, "20.25ms"),
        (7e-6, "7µs"),
        (3e-9, "3ns"),
        (0, "0ns"),
        (61, "61s"),
        (1.000000001, "1.000000001s"),
    ],
)
def test_durations_are_written_as_rust_does(seconds: float, text: str) -> None:
    assert rust.duration(seconds) == text


def test_structs_are_written_as_rust_does() -> None:
    assert rust.struct(Example(name='a"b')) == 'Example { name: Some("a\\"b"), many: [] }'
