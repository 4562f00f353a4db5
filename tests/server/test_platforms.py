"""SageMaker's `/invocations` answers as the route whose body it was given; Vertex AI's `/vertex` answers with texts."""

import json
from typing import Any

import pytest

from tests.server.live import LiveServer

GREEDY = {"temperature": 0.0, "max_tokens": 6}
MESSAGES = [{"role": "user", "content": "What is a list?"}]
BODIES = {
    "/": {"inputs": "What is", "parameters": {"max_new_tokens": 6, "details": True}},
    "/v1/chat/completions": {"messages": MESSAGES, **GREEDY},
    "/v1/completions": {"prompt": ["What is", "A list"], **GREEDY},
}


def without_time(answer: Any) -> Any:
    return {**answer, "created": 0} if isinstance(answer, dict) and "created" in answer else answer


@pytest.mark.parametrize("path", BODIES)
def test_an_invocation_is_answered_as_the_route_of_its_body(server: LiveServer, path: str) -> None:
    response = server.post("/invocations", BODIES[path])
    assert without_time(response.json()) == without_time(server.post(path, BODIES[path]).json())
    assert "x-generated-tokens" in response.headers


@pytest.mark.parametrize("path", ["/", "/v1/chat/completions"])
def test_an_invocation_may_stream(server: LiveServer, path: str) -> None:
    body = {**BODIES[path], "stream": True}
    invoked, streamed = (server.events(route, body) for route in ("/invocations", path))
    assert list(map(without_time, invoked)) == list(map(without_time, streamed))


def test_an_invocation_that_fits_no_route_is_refused(server: LiveServer) -> None:
    response = server.post("/invocations", {"text": "What is"})
    assert response.status_code == 422
    assert response.text.startswith("Failed to deserialize the JSON body into the target type: ")


def test_vertex_continues_every_instance(server: LiveServer) -> None:
    generate = {"inputs": "What is", "parameters": {"max_new_tokens": 6, "seed": 5}}
    chat = BODIES["/v1/chat/completions"]
    response = server.post("/vertex", {"instances": [generate, chat, generate]})
    sampled = server.generate("What is", max_new_tokens=6, seed=5, do_sample=True)["generated_text"]
    said = server.post("/v1/chat/completions", chat).json()["choices"][0]["message"]["content"]
    assert response.json() == {"predictions": [sampled, said, sampled]}


def test_vertex_needs_an_instance(server: LiveServer) -> None:
    response = server.post("/vertex", {"instances": []})
    error = {"error": "Input validation error", "error_type": "Input validation error"}
    assert (response.status_code, response.json()) == (422, error)


def test_vertex_refuses_more_instances_than_may_run(server: LiveServer) -> None:
    limit = server.http.get("/info").json()["max_concurrent_requests"]
    refused_chat = {"messages": [{"role": "nobody", "content": "A"}], "n": 2}
    response = server.post("/vertex", {"instances": [refused_chat] * (limit + 1)})
    assert (response.status_code, response.json()["error_type"]) == (429, "overloaded")
    assert server.post("/vertex", {"instances": [refused_chat] * limit}).json()["error_type"] == "validation"


def test_an_instance_that_fails_fails_all(server: LiveServer) -> None:
    before = server.metric("tgi_request_failure", '{err="validation"}')
    response = server.post("/vertex", {"instances": [BODIES["/"], {"inputs": ""}]})
    error = {"error": "Incomplete generation", "error_type": "Incomplete generation"}
    assert (response.status_code, response.json()) == (500, error)
    assert server.metric("tgi_request_failure", '{err="validation"}') == before + 1


def test_a_wrong_conversation_of_vertex_is_told(server: LiveServer) -> None:
    response = server.post("/vertex", {"instances": [{"messages": MESSAGES, "n": 2}]})
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")
    assert json.loads(response.text)["error"] == "Input validation error: `n` != 1 is not supported"
