"""The client against a server whose timings and faults are scripted."""

import pytest
from llmload.chat import ChatClient
from llmload.chat_record import Record

from tests.loadtest.scripted_server import DONE, Drop, Pause, event, serving, text, usage

# Far below the 20-fold error that reading in blocks of 1 KiB would make, far above a busy machine's jitter.
TOLERANCE_S = 0.03


def ask(url: str, timeout_s: float = 10.0) -> Record:
    client = ChatClient(url, timeout_s=timeout_s)
    try:
        return client.ask("What is a list?", max_tokens=8)
    finally:
        client.close()


def test_times_are_those_of_the_server() -> None:
    pauses_s = (0.20, 0.10, 0.05)
    script = [step for pause_s in pauses_s for step in (Pause(pause_s), text("word"))]
    with serving([*script, text("", "stop"), usage(5, 3), DONE]) as url:
        record = ask(url)
    assert record.error is None
    assert record.ttft_s == pytest.approx(0.20, abs=TOLERANCE_S)
    assert record.gaps_s == pytest.approx([0.10, 0.05], abs=TOLERANCE_S)
    assert record.tpot_s == pytest.approx(0.075, abs=TOLERANCE_S)
    assert record.end_s == pytest.approx(0.35, abs=2 * TOLERANCE_S)


def test_tokens_are_counted_by_usage_not_by_events() -> None:
    with serving([text("two words"), text(" more", "length"), usage(11, 64), DONE]) as url:
        record = ask(url)
    assert (record.prompt_tokens, record.completion_tokens) == (11, 64)
    assert len(record.text_times_s) == 2


def test_an_empty_first_event_does_not_count_as_the_first_token() -> None:
    role = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
    with serving([role, Pause(0.15), text("a", "stop"), usage(1, 1), DONE]) as url:
        record = ask(url)
    assert record.ttft_s == pytest.approx(0.15, abs=TOLERANCE_S)


def test_keep_alive_comments_and_a_missing_space_are_read() -> None:
    unspaced = text("a", "stop").replace(b"data: ", b"data:", 1)
    with serving([b": keep-alive\n\n", unspaced, b":\n\n", usage(1, 1), DONE]) as url:
        assert ask(url).ok


def test_an_event_split_over_packets_is_read() -> None:
    whole = text("a", "stop")
    with serving([whole[:20], Pause(0.05), whole[20:], usage(1, 1), DONE]) as url:
        record = ask(url)
    assert record.ok
    assert record.ttft_s == pytest.approx(0.05, abs=TOLERANCE_S)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "Model is overloaded", "http_status_code": 422}},
        {"error": "Model is overloaded", "error_type": "overloaded"},
    ],
)
def test_an_error_inside_http_200_is_a_failure(error: dict[str, object]) -> None:
    with serving([text("a"), event(error), DONE]) as url:
        record = ask(url)
    assert (record.error_kind, record.error) == ("stream", "Model is overloaded")


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param([Drop()], id="the connection closes"),
        pytest.param([], id="the body ends without a finish reason"),
        pytest.param([text("b", "stop"), usage(1, 2)], id="the end mark is missing"),
    ],
)
def test_a_stream_cut_short_is_a_failure(ending: list[bytes | Drop]) -> None:
    with serving([text("a"), *ending]) as url:
        record = ask(url)
    assert record.error_kind in {"truncated", "connection"}
    assert len(record.text_times_s) >= 1


def test_a_stream_without_usage_is_a_failure_because_its_tokens_are_unknown() -> None:
    with serving([text("a", "stop"), DONE]) as url:
        assert ask(url).error_kind == "stream"


def test_an_http_error_is_a_failure_with_its_status_and_text() -> None:
    body = b'{"error":"`inputs` must have less than 10 tokens"}'
    raw = b"HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with serving([], raw_response=raw) as url:
        record = ask(url)
    assert record.error_kind == "http"
    assert record.error is not None
    assert "422" in record.error
    assert "must have less than" in record.error


def test_a_server_that_is_not_there_is_a_failure() -> None:
    with serving([]) as url:
        pass
    assert ask(url).error_kind == "connection"


def test_a_server_that_falls_silent_is_a_failure_after_the_timeout() -> None:
    with serving([text("a"), Pause(2), text("b", "stop"), usage(1, 2), DONE]) as url:
        record = ask(url, timeout_s=0.3)
    assert record.error_kind == "connection"
    assert record.end_s < 1.5


def test_the_connection_is_kept_for_the_next_question() -> None:
    with serving([text("a", "stop"), usage(1, 1), DONE]) as url:
        client = ChatClient(url)
        records = [client.ask("again?", max_tokens=1) for _ in range(3)]
        client.close()
    assert all(record.ok for record in records)
