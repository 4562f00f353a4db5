"""How an answer that ends by itself looks on every route."""

from typing import Any

import pytest

from tests.server.live import LiveServer

LENGTH = 200


@pytest.fixture(scope="module")
def flat(server: LiveServer) -> dict[str, Any]:
    """So hot that the seed alone chooses the tokens; the first seed with which the end of text is among them."""
    for seed in range(200):
        chosen = {"temperature": 1e6, "seed": seed}
        details = server.generate("a", max_new_tokens=LENGTH, details=True, **chosen)["details"]
        if details["generated_tokens"] < LENGTH:
            return chosen
    raise AssertionError("one token of a thousand is the end of text, and none of 40,000 was it")


def test_details_name_the_end_of_text(server: LiveServer, flat: dict[str, Any]) -> None:
    answer = server.generate("a", max_new_tokens=LENGTH, details=True, **flat)
    *others, last = answer["details"]["tokens"]
    assert answer["details"]["finish_reason"] == "eos_token"
    assert answer["details"]["generated_tokens"] == len(others) + 1
    assert last["text"].endswith("</s>")
    assert last["special"]
    assert not any(token["special"] for token in others)
    assert answer["generated_text"].rstrip("\ufffd") == "".join(token["text"] for token in others)


def test_a_chat_stops_without_the_special_token(server: LiveServer, flat: dict[str, Any]) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "max_tokens": LENGTH, **flat}
    (choice,) = server.post("/v1/chat/completions", body).json()["choices"]
    assert choice["finish_reason"] == "stop"
    *chunks, _done = server.events("/v1/chat/completions", {**body, "stream": True})
    last = chunks[-1]["choices"][0]
    assert (last["finish_reason"], last["delta"]["content"]) == ("stop", "")
    assert "</s>" not in choice["message"]["content"]


def test_a_completion_stops_but_its_stream_says_eos_token(server: LiveServer, flat: dict[str, Any]) -> None:
    body: dict[str, Any] = {"prompt": "a", "max_tokens": LENGTH, **flat}
    assert server.post("/v1/completions", body).json()["choices"][0]["finish_reason"] == "stop"
    *_chunks, last, _done = server.events("/v1/completions", {**body, "stream": True})
    assert last["choices"][0]["finish_reason"] == "eos_token"
