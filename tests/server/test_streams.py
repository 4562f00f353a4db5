"""Streams: the same answer in pieces, whole characters, and nothing left behind by a client that leaves."""

import asyncio
import json
import socket
import time

import httpx
import pytest

from tests.server.live import LiveServer, near, wait_for

LONG = {"max_new_tokens": 2000}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stream_is_the_same_answer_in_pieces(server: LiveServer, seed: int) -> None:
    parameters = {"max_new_tokens": 40, "do_sample": True, "seed": seed, "details": True}
    whole = server.generate("A list", **parameters)
    events = server.events("/generate_stream", {"inputs": "A list", "parameters": parameters})
    assert [event["index"] for event in events] == list(range(1, 41))
    assert [event["token"] for event in events] == near(whole["details"]["tokens"])
    assert [event["generated_text"] for event in events[:-1]] == [None] * 39
    assert events[-1]["generated_text"] == whole["generated_text"]
    assert events[-1]["details"] == {
        "finish_reason": "length",
        "generated_tokens": 40,
        "seed": seed,
        "input_length": len(server.post("/tokenize", {"inputs": "A list"}).json()),
    }


@pytest.mark.parametrize("seed", range(4))
def test_no_character_is_split_between_events(server: LiveServer, seed: int) -> None:
    """The random model speaks in random bytes: text held back for a character must come with it, once."""
    parameters = {"max_new_tokens": 400, "temperature": 3.0, "seed": seed}
    events = server.events("/generate_stream", {"inputs": "😀é", "parameters": parameters})
    pieces = "".join(event["token"]["text"] for event in events if not event["token"]["special"])
    generated = events[-1]["generated_text"]
    assert pieces == generated or (generated.startswith(pieces) and set(generated[len(pieces) :]) == {"\ufffd"})
    assert any(ord(character) > 127 for character in generated)


def test_details_come_only_when_asked_for(server: LiveServer) -> None:
    events = server.events("/generate_stream", {"inputs": "A", "parameters": {"max_new_tokens": 2}})
    assert [event["details"] for event in events] == [None, None]


def test_a_stream_is_framed_as_events_with_tgis_headers(server: LiveServer) -> None:
    response = server.post("/generate_stream", {"inputs": "é1", "parameters": {"max_new_tokens": 2}})
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-compute-characters"] == "2"
    assert "x-total-time" not in response.headers
    frames = response.text.split("\n\n")
    assert frames.pop() == ""
    assert len(frames) == 2
    assert all(frame.startswith("data: {") and "\n" not in frame for frame in frames)


def test_64_requests_at_once_get_the_answers_they_get_alone(server: LiveServer) -> None:
    bodies = [
        {"inputs": f"Item {index} of", "parameters": {"max_new_tokens": 8 + index % 5, "details": True}}
        for index in range(64)
    ]
    together = asyncio.run(_post_all(server.url, bodies))
    for body, answer in list(zip(bodies, together, strict=True))[::9]:
        alone = server.post("/generate", body).json()
        assert answer["generated_text"] == alone["generated_text"]
    counts = [answer["details"]["generated_tokens"] for answer in together]
    assert counts == [body["parameters"]["max_new_tokens"] for body in bodies]


def test_a_client_that_leaves_a_stream_frees_its_place_in_the_batch(small_server: LiveServer) -> None:
    dropped = small_server.metric("tgi_request_failure", '{err="dropped"}')
    with small_server.stream("/generate_stream", {"inputs": "A", "parameters": LONG}) as events:
        next(events)
        assert wait_for(lambda: small_server.metric("tgi_batch_current_size") == 1)
    _expect_a_free_batch(small_server)
    assert small_server.metric("tgi_request_failure", '{err="dropped"}') == dropped + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"inputs": "A", "parameters": LONG}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "A"}], "max_tokens": 2000, "temperature": 0.0},
        ),
        ("/v1/completions", {"prompt": ["A", "B"], "max_tokens": 2000, "temperature": 0.0}),
        ("/v1/completions", {"prompt": ["A", "B"], "max_tokens": 2000, "temperature": 0.0, "stream": True}),
    ],
)
def test_a_client_that_leaves_before_the_answer_frees_its_place(
    small_server: LiveServer, path: str, body: dict[str, object]
) -> None:
    _leave_after(0.4, small_server, path, body)
    _expect_a_free_batch(small_server)


def test_a_request_too_many_is_refused(small_server: LiveServer) -> None:
    """Two places: one request in the batch, one waiting."""
    body = {"inputs": "A", "parameters": LONG}
    with (
        small_server.stream("/generate_stream", body) as first,
        small_server.stream("/generate_stream", body),
    ):
        next(first)
        error = {"error": "Model is overloaded", "error_type": "overloaded"}
        assert wait_for(lambda: small_server.metric("tgi_queue_size") == 1)
        response = small_server.post("/generate", body)
        assert (response.status_code, response.json()) == (429, error)
        assert small_server.events("/generate_stream", body) == [error]
        chat = {"messages": [{"role": "user", "content": "A"}], "stream": True}
        event = {"error": {"message": "Model is overloaded", "http_status_code": 422}}
        assert small_server.events("/v1/chat/completions", chat) == [event, "[DONE]"]
    _expect_a_free_batch(small_server)


async def _post_all(url: str, bodies: list[dict[str, object]]) -> list[dict[str, object]]:
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:
        responses = await asyncio.gather(*(client.post("/generate", json=body) for body in bodies))
    assert {response.status_code for response in responses} == {200}
    return [response.json() for response in responses]


def _leave_after(seconds: float, server: LiveServer, path: str, body: dict[str, object]) -> None:
    with socket.create_connection(server.address) as connection:
        data = json.dumps(body)
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer secret\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n{data}".encode()
        )
        time.sleep(seconds)
        assert server.metric("tgi_batch_current_size") == 1


def _expect_a_free_batch(server: LiveServer) -> None:
    """Its one place in the batch must go to the next request at once, long before 2000 tokens are done."""
    assert wait_for(lambda: server.metric("tgi_batch_current_size") == server.metric("tgi_queue_size") == 0, 1.0)
    started = time.monotonic()
    server.generate("A", max_new_tokens=1)
    assert time.monotonic() - started < 0.5
