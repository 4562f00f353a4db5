"""Grammars: the text is what was asked for, on every route and in all of TGI's forms."""

import json
import re
from typing import Any

import pytest

from tests.server.live import LiveServer

SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"type": "array", "items": {"enum": [1, 2]}}},
    "required": ["unit", "days"],
}
SCHEMA["properties"]["days"]["maxItems"] = 3
FORMS = [
    {"type": "json", "value": SCHEMA},
    {"type": "json_object", "value": SCHEMA},
    {"type": "json", "value": json.dumps(SCHEMA)},
    {"type": "json_schema", "value": {"name": "weather", "strict": True, "schema": SCHEMA}},
    {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}},
]
MESSAGES = [{"role": "user", "content": "What is the weather?"}]


def assert_fits(text: str) -> None:
    document = json.loads(text)
    assert list(document) == ["unit", "days"]
    assert document["unit"] in ("celsius", "fahrenheit")
    assert set(document["days"]) <= {1, 2}
    assert len(document["days"]) <= 3


@pytest.mark.parametrize("grammar", FORMS)
def test_a_schema_makes_a_document_of_it(server: LiveServer, grammar: dict[str, Any]) -> None:
    answer = server.generate("Weather: ", max_new_tokens=80, grammar=grammar, details=True)
    assert_fits(answer["generated_text"])
    assert answer["details"]["finish_reason"] == "eos_token"


@pytest.mark.parametrize("seed", range(3))
def test_samples_keep_to_a_regular_expression(server: LiveServer, seed: int) -> None:
    grammar = {"type": "regex", "value": r"[0-9]{2}\.[a-c]{3,5}"}
    answer = server.generate("n", max_new_tokens=40, grammar=grammar, temperature=3.0, seed=seed)
    assert re.fullmatch(grammar["value"], answer["generated_text"])


@pytest.mark.parametrize("response_format", FORMS)
def test_a_chat_has_the_format_that_was_asked_for(server: LiveServer, response_format: dict[str, Any]) -> None:
    body = {"messages": MESSAGES, "max_tokens": 80, "seed": 3, "response_format": response_format}
    choice = server.post("/v1/chat/completions", body).json()["choices"][0]
    assert_fits(choice["message"]["content"])
    assert choice["finish_reason"] == "stop"
    *chunks, _done = server.events("/v1/chat/completions", {**body, "stream": True})
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == choice["message"]["content"]


@pytest.mark.parametrize("pattern", ["(", "a(?=b)"])
def test_an_expression_that_cannot_be_enforced_is_refused(server: LiveServer, pattern: str) -> None:
    body = {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": pattern}}}
    response = server.post("/generate", body)
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")
    assert response.json()["error"].startswith("Input validation error: grammar is not valid: the regular expression")


def test_a_schema_cannot_make_the_server_fetch_an_address(server: LiveServer) -> None:
    schema = {"$schema": "http://127.0.0.1:9/schema", "properties": {"a": {"$ref": "http://127.0.0.1:9/a"}}}
    response = server.post("/generate", {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": schema}}})
    assert response.status_code == 422
    assert response.json()["error"].startswith("Input validation error: grammar is not valid: the JSON schema")


@pytest.mark.parametrize("depth", [60, 300])
def test_a_deep_schema_is_taken_or_refused_in_a_sentence(server: LiveServer, depth: int) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    as_text = {"type": "json", "value": json.dumps(schema)}
    response = server.post("/generate", {"inputs": "a", "parameters": {"grammar": as_text, "max_new_tokens": 2}})
    if depth == 60:
        assert response.status_code == 200
    else:
        assert response.json()["error"].startswith("Input validation error: grammar is not valid: ")


def test_grammars_can_be_switched_off(small_server: LiveServer) -> None:
    body = {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "a"}}}
    response = small_server.post("/generate", body)
    assert response.json() == {"error": "Input validation error: grammar is not supported", "error_type": "validation"}
