"""What clients see when the engine fails, which a sound one does not do: here a double stands in for it."""

import asyncio
import json
import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from transformers import PreTrainedTokenizerBase

from tgi_autoround.engine import EngineLimits, Failure, OnEvent, Request
from tgi_autoround.engine.grammar import Grammars
from tgi_autoround.errors import EngineError
from tgi_autoround.server.assembly import assemble
from tgi_autoround.server.model_source import ModelSource
from tgi_autoround.server.settings import ServeConfig

LIMITS = EngineLimits(
    max_input_tokens=50, max_total_tokens=60, max_batch_prefill_tokens=50, max_batch_total_tokens=60, max_batch_size=1
)
MESSAGE = "Request failed during generation: out of luck"


class FailingEngine:
    """Fails every request from another thread, or at once where it `refuses`."""

    limits = LIMITS
    adapters: frozenset[str] = frozenset()

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, refuses: bool) -> None:
        self.grammars = Grammars(tokenizer, frozenset())
        self._refuses = refuses

    def submit(self, request: Request, on_event: OnEvent) -> None:
        if self._refuses:
            raise EngineError("out of luck")
        threading.Thread(target=on_event, args=(Failure("out of luck"),)).start()

    def healthy(self) -> bool:
        return False

    def stop(self) -> None: ...


@pytest.fixture(params=[False, True], ids=["while-running", "at-once"])
def app(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerBase, served_model: Path) -> FastAPI:
    config = ServeConfig(model_id="m", max_concurrent_requests=1)
    return assemble(config, ModelSource(served_model), FailingEngine(tokenizer, refuses=request.param), tokenizer)


def test_an_answer_that_fails_is_424(app: FastAPI) -> None:
    for _ in range(2):
        response = _send(app, "POST", "/generate", {"inputs": "a"})
        assert (response.status_code, response.json()) == (424, {"error": MESSAGE, "error_type": "generation"})
    assert 'tgi_request_failure{err="generation"} 2.0' in _send(app, "GET", "/metrics").text


def test_a_stream_that_fails_ends_with_the_error(app: FastAPI) -> None:
    response = _send(app, "POST", "/generate_stream", {"inputs": "a"})
    assert _events(response) == [json.dumps({"error": MESSAGE, "error_type": "generation"}, separators=(",", ":"))]


def test_a_chat_stream_that_fails_tells_and_ends(app: FastAPI) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "stream": True}
    error, done = _events(_send(app, "POST", "/v1/chat/completions", body))
    assert json.loads(error) == {"error": {"message": MESSAGE, "http_status_code": 422}}
    assert done == "[DONE]"


def test_a_dead_engine_is_unhealthy(app: FastAPI) -> None:
    response = _send(app, "GET", "/health")
    assert (response.status_code, response.json()) == (503, {"error": "unhealthy", "error_type": "healthcheck"})


def _send(app: FastAPI, method: str, path: str, body: object = None) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(send())


def _events(response: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.text.splitlines() if line]
