"""How each API is asked and how its answers are read, every failure by its own kind."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import orjson
import pytest

from loadtest.llmload.events import sse_data
from loadtest.llmload.protocols import APIS
from loadtest.llmload.record import ErrorKind, Record
from loadtest.llmload.request import Message, ProtocolName, Sampling
from tests.loadtest.asking import REQUEST, ask, client_of
from tests.loadtest.scripted_server import DONE, Drop, Step, event, serving, text, usage

SAMPLING = Sampling(temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.1, seed=7, stop=("\n", "END"))


def body(protocol: ProtocolName, **changes: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(APIS[protocol].body(replace(REQUEST, **changes), "my-model"))
    return parsed


def token(content: str, special: bool = False, details: dict[str, Any] | None = None) -> bytes:
    generated = None if details is None else content
    fields = {"id": 1, "text": content, "logprob": -0.1, "special": special}
    return event({"index": 1, "token": fields, "generated_text": generated, "details": details})


DETAILS = {"finish_reason": "eos_token", "generated_tokens": 3, "seed": None, "input_length": 11}


def stream(script: Sequence[Step], protocol: ProtocolName = "openai-chat-stream") -> Record:
    with serving(script) as url:
        return ask(url, protocol)


def whole(parsed: object, protocol: ProtocolName, headers: bytes = b"") -> Record:
    encoded = parsed if isinstance(parsed, bytes) else orjson.dumps(parsed)
    raw = b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(encoded), encoded)
    with serving([], raw_response=raw) as url:
        return ask(url, protocol)


def test_every_protocol_that_can_be_named_is_there() -> None:
    assert set(APIS) == set(get_args(ProtocolName))


def test_tgi_is_asked_with_its_own_parameters() -> None:
    assert body("tgi-generate", sampling=SAMPLING) == body("tgi-generate-stream", sampling=SAMPLING)
    asked = body("tgi-generate-stream", sampling=SAMPLING)
    assert asked["inputs"] == REQUEST.prompt
    assert asked["parameters"] == {
        "max_new_tokens": 8,
        "details": True,
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "repetition_penalty": 1.1,
        "seed": 7,
        "stop": ["\n", "END"],
    }


def test_openai_is_asked_with_what_its_api_knows() -> None:
    asked = body("openai-chat-stream", sampling=SAMPLING, messages=(Message("system", "Be brief."),))
    assert asked == {
        "model": "my-model",
        "messages": [{"role": "system", "content": "Be brief."}],
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n", "END"],
    }


@pytest.mark.parametrize("protocol", get_args(ProtocolName))
def test_what_a_scenario_leaves_open_is_left_to_the_server(protocol: ProtocolName) -> None:
    asked = body(protocol)
    asked |= asked.pop("parameters", {})
    always = {"inputs", "details", "max_new_tokens", "model", "messages", "prompt", "max_tokens", "stream"}
    assert set(asked) <= always | {"stream_options"}
    assert asked.get("stream", protocol == "tgi-generate-stream") == protocol.endswith("stream") or "tgi" in protocol


def test_a_tgi_stream_counts_every_event_as_a_token_and_details_as_the_truth() -> None:
    record = stream([token("a"), token(""), token("</s>", special=True, details=DETAILS)], "tgi-generate-stream")
    assert record.error is None
    assert len(record.gaps_s) == 2
    assert (record.prompt_tokens, record.output_tokens, record.finish_reason) == (11, 3, "eos_token")


def test_special_tokens_are_no_text() -> None:
    script = [token("a"), token(" b"), token("</s>", special=True, details=DETAILS)]
    with serving(script) as url, client_of(url) as client:
        assert client.send(replace(REQUEST, protocol="tgi-generate-stream"))[1] == "a b"


def test_a_chat_stream_counts_events_with_text_and_usage_as_the_truth() -> None:
    role = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
    record = stream([role, text("two words"), text(" more", "length"), usage(11, 64), DONE])
    assert record.error is None
    assert len(record.gaps_s) == 1
    assert (record.prompt_tokens, record.output_tokens, record.finish_reason) == (11, 64, "length")


def test_the_role_alone_is_no_first_token() -> None:
    role = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
    record = stream([role, text("", "stop"), usage(1, 0), DONE])
    assert record.error is None
    assert record.first_token_s is None


@pytest.mark.parametrize("field", ["reasoning_content", "tool_calls"])
def test_reasoning_and_tool_calls_are_tokens_too(field: str) -> None:
    first = event({"choices": [{"index": 0, "delta": {field: "x"}, "finish_reason": None}]})
    record = stream([first, text("a", "stop"), usage(1, 2), DONE])
    assert record.error is None
    assert len(record.gaps_s) == 1


def test_tgis_completions_end_with_usage_beside_the_last_text() -> None:
    chunk = event({"choices": [{"index": 0, "text": "a", "finish_reason": ""}]})
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    final = event({"choices": [{"index": 0, "text": "b", "finish_reason": "length"}], "usage": counts})
    record = stream([chunk, final, DONE], "openai-completions-stream")
    assert record.error is None
    assert (record.prompt_tokens, record.output_tokens, record.finish_reason) == (3, 2, "length")


@pytest.mark.parametrize(
    ("protocol", "answer"),
    [
        ("tgi-generate", {"generated_text": "ab", "details": DETAILS}),
        (
            "openai-chat",
            {
                "choices": [{"message": {"role": "assistant", "content": "ab"}, "finish_reason": "eos_token"}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 3},
            },
        ),
        (
            "openai-completions",
            {
                "choices": [{"text": "ab", "finish_reason": "eos_token"}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 3},
            },
        ),
    ],
)
def test_an_answer_without_streaming_has_counts_and_no_token_times(
    protocol: ProtocolName, answer: dict[str, Any]
) -> None:
    record = whole(answer, protocol, b"x-prompt-tokens: 11\r\n")
    assert record.error is None
    assert (record.prompt_tokens, record.output_tokens, record.finish_reason) == (11, 3, "eos_token")
    assert record.first_token_s is None
    assert record.first_byte_s is not None


def test_keep_alive_comments_and_a_missing_space_are_read() -> None:
    unspaced = text("a", "stop").replace(b"data: ", b"data:", 1)
    record = stream([b": keep-alive\n\n", unspaced, b":\n\n", usage(1, 1), DONE])
    assert record.error is None
    assert record.output_tokens == 1


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_events_are_read_as_the_standard_has_them(newline: bytes) -> None:
    """Comments, other fields, several data lines, and a last event without its blank line."""
    lines = [
        b": ping",
        b"",
        b"event: token",
        b"data: one",
        b"data:two",
        b"id: 7",
        b"",
        b"",
        b"data",
        b"",
        b"data: [DONE]",
    ]
    events = list(sse_data(newline.join(lines)))
    assert [data for _, data in events] == [b"one\ntwo", b"", b"[DONE]"]
    assert [end for end, _ in events] == sorted(end for end, _ in events)


TGI_OVERLOADED = event({"error": "Model is overloaded", "error_type": "overloaded"})
CHAT_OVERLOADED = event({"error": {"message": "Model is overloaded", "http_status_code": 422}})


@pytest.mark.parametrize(
    ("protocol", "script"),
    [
        ("tgi-generate-stream", [token("a"), TGI_OVERLOADED]),
        ("openai-chat-stream", [text("a"), CHAT_OVERLOADED, DONE]),
        ("openai-chat-stream", [text("a"), CHAT_OVERLOADED, Drop()]),
        ("openai-completions-stream", [TGI_OVERLOADED, DONE]),
    ],
)
def test_an_error_inside_http_200_is_a_server_error(protocol: ProtocolName, script: list[Step]) -> None:
    record = stream(script, protocol)
    assert record.status == 200
    assert record.error_kind is ErrorKind.SERVER_ERROR
    assert "Model is overloaded" in (record.error or "")


@pytest.mark.parametrize(
    ("protocol", "script"),
    [
        ("tgi-generate-stream", [token("a"), token("b")]),
        ("tgi-generate-stream", []),
        ("openai-chat-stream", [text("a"), DONE]),
        ("openai-chat-stream", [text("a", "stop"), usage(1, 1)]),
        ("openai-completions-stream", []),
    ],
)
def test_a_body_that_ends_properly_without_the_answers_end_is_truncated(
    protocol: ProtocolName, script: list[Step]
) -> None:
    assert stream(script, protocol).error_kind is ErrorKind.TRUNCATED


@pytest.mark.parametrize(
    ("protocol", "script"),
    [
        ("openai-chat-stream", [text("a", "stop"), DONE]),
        ("openai-chat-stream", [b"data: {not json}\n\n"]),
        ("openai-chat-stream", [b"data: 17\n\n"]),
        ("tgi-generate-stream", [event({"generated_text": "no token"})]),
        ("tgi-generate-stream", [token("a", details={"finish_reason": "length"})]),
    ],
)
def test_what_the_api_does_not_allow_is_a_protocol_error(protocol: ProtocolName, script: list[Step]) -> None:
    """Among it a stream without usage: its tokens could not be counted."""
    assert stream(script, protocol).error_kind is ErrorKind.PROTOCOL


@pytest.mark.parametrize("answer", [b"<html>", {"generated_text": "no details"}])
def test_a_whole_answer_that_the_api_does_not_allow_is_a_protocol_error(answer: object) -> None:
    assert whole(answer, "tgi-generate").error_kind is ErrorKind.PROTOCOL


def test_a_status_other_than_200_is_an_http_error_with_its_status_and_text() -> None:
    said = b'{"error":"`inputs` must have less than 10 tokens"}'
    raw = b"HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
    with serving([], raw_response=raw) as url:
        record = ask(url)
    assert (record.error_kind, record.status) == (ErrorKind.HTTP, 422)
    assert "must have less than" in (record.error or "")


def test_a_record_survives_its_line() -> None:
    record = stream([text("a"), text("b"), text("c", "stop"), usage(5, 3), DONE])
    failed = stream([text("a"), Drop()])
    for one in (record, failed):
        assert Record.from_json(one.to_json_line()) == one
        assert one.to_json_line().count(b"\n") == 1
