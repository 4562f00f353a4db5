"""The mock server, asked by clients that are not ours: OpenAI's, Hugging Face's and the standard library's."""

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import openai
import pytest
from huggingface_hub import InferenceClient

from loadtest.llmload.record import ErrorKind
from loadtest.mock.process import mock_server
from tests.loadtest.asking import REQUEST, client_of


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mock_server(ttft_ms=30, itl_ms=10) as running:
        yield running


def fetch(address: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data), timeout=5) as answer:
        raw = answer.read()
        return json.loads(raw) if answer.headers["Content-Type"] == "application/json" and raw else raw.decode()


def test_openais_client_reads_its_chat_streams(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    chunks = list(
        client.chat.completions.create(
            model="mock",
            messages=[{"role": "user", "content": "one two three"}],
            max_tokens=6,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    words = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert len(words) == 6
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 6)


def test_openais_client_reads_its_whole_completions(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    completion = client.completions.create(model="mock", prompt="one two three", max_tokens=5)
    assert len(completion.choices[0].text.split()) == 5
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 5)


def test_hugging_faces_client_reads_its_tgi_streams(url: str) -> None:
    client = InferenceClient(f"{url}/generate_stream")
    events = list(client.text_generation("one two", max_new_tokens=4, stream=True, details=True))
    assert [event.details is not None for event in events] == [False, False, False, True]
    assert events[-1].generated_text == "".join(event.token.text for event in events)
    assert events[-1].details.generated_tokens == 4


def test_tokens_come_when_they_should_and_carry_their_emit_stamps(url: str) -> None:
    body = json.dumps({"inputs": "one", "parameters": {"max_new_tokens": 5}}).encode()
    began_ns = time.monotonic_ns()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/generate_stream", body), timeout=5) as answer:
        events = [json.loads(line[5:]) for line in answer if line.startswith(b"data:")]
    after_ms = [(event["emitted_monotonic_ns"] - began_ns) / 1e6 for event in events]
    assert 30 <= after_ms[0] < 200
    gaps_ms = [later - earlier for earlier, later in pairwise(after_ms)]
    assert min(gaps_ms) >= 10
    assert abs(time.time_ns() - events[-1]["emitted_unix_ns"]) < 1e9


def test_its_tokenizer_agrees_with_the_counts_of_its_answers(url: str) -> None:
    text = "how many  words are here"
    tokens = fetch(f"{url}/tokenize", {"inputs": text})
    assert [text[token["start"] : token["stop"]] for token in tokens] == [token["text"] for token in tokens]
    messages = [{"role": "user", "content": text}]
    templated = fetch(f"{url}/chat_tokenize", {"messages": messages})
    answer = fetch(f"{url}/v1/chat/completions", {"messages": messages, "max_tokens": 1})
    assert len(templated["tokenize_response"]) == answer["usage"]["prompt_tokens"] == len(tokens) + 1


def test_it_has_the_routes_that_a_load_test_asks(url: str) -> None:
    assert fetch(f"{url}/health") == ""
    assert fetch(f"{url}/info")["max_total_tokens"] > 0
    metrics = dict(line.split() for line in fetch(f"{url}/metrics").splitlines() if not line.startswith("#"))
    assert int(metrics["tgi_request_success"]) >= 1
    assert int(metrics["tgi_batch_current_size"]) == 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"{url}/nowhere")


def test_faults_come_at_their_rates() -> None:
    kinds: Counter[ErrorKind | None] = Counter()
    rates = {"error_rate": 0.2, "http_error_rate": 0.2, "drop_rate": 0.2, "truncate_rate": 0.2}
    with mock_server(ttft_ms=0, itl_ms=0, **rates) as url, client_of(url) as client:
        for _ in range(200):
            kinds[client.send(REQUEST)[0].error_kind] += 1
    expected = [ErrorKind.SERVER_ERROR, ErrorKind.HTTP, ErrorKind.DISCONNECT, ErrorKind.TRUNCATED, None]
    assert set(kinds) == set(expected)
    assert all(20 <= kinds[kind] <= 60 for kind in expected), kinds


def test_requests_beyond_its_slots_wait_for_one() -> None:
    def timed(url: str) -> float:
        began_s = time.monotonic()
        fetch(f"{url}/generate", {"inputs": "a", "parameters": {"max_new_tokens": 5}})
        return time.monotonic() - began_s

    with mock_server(ttft_ms=100, itl_ms=50, slots=2) as url, ThreadPoolExecutor(4) as pool:
        took_s = sorted(pool.map(timed, [url] * 4))
    assert took_s[1] < 0.55
    assert took_s[2] > 0.6


def test_a_stall_holds_back_everything_for_its_time() -> None:
    with mock_server(ttft_ms=0, itl_ms=20, stall_at_s=0.1, stall_s=0.5) as url, client_of(url) as client:
        record = client.send(REQUEST)[0]
    assert record.error is None
    assert 0.4 < max(record.gaps_s) < 0.7
    assert sorted(record.gaps_s)[-2] < 0.2
