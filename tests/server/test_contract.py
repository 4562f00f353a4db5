"""Whatever is sent, the live server's answers are those of its OpenAPI document, events of streams too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.live import LiveServer

ROUTES = [
    ("POST", "/"),
    ("POST", "/generate"),
    ("POST", "/generate_stream"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/invocations"),
    ("POST", "/vertex"),
    ("POST", "/tokenize"),
    ("POST", "/chat_tokenize"),
    ("GET", "/info"),
    ("GET", "/v1/models"),
    ("GET", "/health"),
    ("GET", "/metrics"),
]
EXAMPLES_A_ROUTE = 25
CHECKS = [status_code_conformance, content_type_conformance]


@pytest.fixture(scope="module")
def brief_server(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose longest answer takes a moment."""
    live = LiveServer(served_model, tmp_path_factory.mktemp("brief") / "log", "--max-total-tokens", "64")
    yield live
    live.close()


@pytest.fixture(scope="module")
def contract(brief_server: LiveServer) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{brief_server.url}/openapi.json")


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_route_answers_as_documented(
    contract: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """Bodies that fit the schema (positive), and bodies that do not."""
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        return
    cases = contract[path][method].as_strategy(generation_mode=mode)
    session = requests.Session()
    # TGI's answer of /vertex where an instance fails is a 500, whatever the cause.
    checks = CHECKS if path == "/vertex" else [*CHECKS, not_a_server_error]

    @given(data=st.data())
    @settings(max_examples=EXAMPLES_A_ROUTE, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def answers(data: st.DataObject) -> None:
        case = data.draw(cases)
        response = case.call(session=session)
        if response.headers.get("content-type") == ["text/event-stream"]:
            assert_events_are_documented(contract.raw_schema, path, response.text)
        else:
            case.validate_response(response, checks=[*checks, response_schema_conformance])

    answers()


def assert_events_are_documented(document: dict[str, Any], path: str, text: str) -> None:
    """The schema is that of an event's data, as in TGI's document; schemathesis takes it for that of the event."""
    schema = document["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
    *frames, rest = text.split("\n\n")
    assert rest == ""
    for frame in frames:
        data = frame.removeprefix("data: ")
        if data != "[DONE]":
            validator.validate(json.loads(data))


def test_every_documented_route_is_asked(contract: schemathesis.BaseSchema) -> None:
    documented = {(operation.ok().method.upper(), operation.ok().path) for operation in contract.get_all_operations()}
    assert documented == set(ROUTES)
