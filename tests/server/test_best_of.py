"""`best_of` and `top_n_tokens`: what else the model might have said."""

from typing import Any

import pytest

from tests.server.live import LiveServer, near, wait_for

PROMPT = "What is a list?"
BEST_OF = {"best_of": 2, "do_sample": True, "max_new_tokens": 12, "details": True}


def mean_logprob(sequence: dict[str, Any]) -> float:
    return sum(token["logprob"] for token in sequence["tokens"]) / len(sequence["tokens"])


def test_the_likeliest_per_token_is_the_answer_and_the_others_are_details(server: LiveServer) -> None:
    for _ in range(4):
        answer = server.generate(PROMPT, **BEST_OF)
        details = answer["details"]
        (other,) = details["best_of_sequences"]
        assert mean_logprob(details) >= mean_logprob(other)
        assert other["seed"] != details["seed"]
        for sequence in ({**details, "generated_text": answer["generated_text"]}, other):
            again = server.generate(PROMPT, do_sample=True, max_new_tokens=12, seed=sequence["seed"])
            assert again["generated_text"] == sequence["generated_text"]


def test_another_sequence_has_all_that_the_answer_has(server: LiveServer) -> None:
    details = server.generate(PROMPT, **BEST_OF, top_n_tokens=2)["details"]
    (other,) = details.pop("best_of_sequences")
    assert set(other) == {*details, "generated_text"}
    assert len(other["tokens"]) == len(other["top_tokens"]) == other["generated_tokens"] == 12


def test_best_of_is_one_request_to_the_metrics(server: LiveServer) -> None:
    names = ("tgi_request_count", "tgi_request_success", "tgi_request_generated_tokens_sum")
    before = [server.metric(name) for name in names]
    server.generate(PROMPT, **BEST_OF)
    assert [server.metric(name) for name in names] == [before[0] + 1, before[1] + 1, before[2] + 12]


def test_the_prompt_comes_before_every_sequence_where_it_is_asked_for(server: LiveServer) -> None:
    answer = server.generate(PROMPT, **BEST_OF, return_full_text=True)
    assert answer["generated_text"].startswith(PROMPT)
    assert answer["details"]["best_of_sequences"][0]["generated_text"].startswith(PROMPT)


def test_a_place_is_needed_for_every_sequence(small_server: LiveServer) -> None:
    """The server has two places; one is taken."""
    body = {"inputs": "a", "parameters": {"max_new_tokens": 1500}}
    with small_server.stream("/generate_stream", body) as events:
        next(events)
        response = small_server.post("/generate", {"inputs": "a", "parameters": {**BEST_OF}})
        assert (response.status_code, response.json()["error_type"]) == (429, "overloaded")
    assert wait_for(lambda: small_server.metric("tgi_batch_current_size") == 0)


def test_the_likeliest_tokens_come_with_every_token(server: LiveServer) -> None:
    parameters = {"max_new_tokens": 8, "top_n_tokens": 3, "details": True}
    details = server.generate(PROMPT, **parameters)["details"]
    assert [set(token) for tops in details["top_tokens"] for token in tops] == [
        {"id", "text", "logprob", "special"}
    ] * 24
    for token, tops in zip(details["tokens"], details["top_tokens"], strict=True):
        logprobs = [top["logprob"] for top in tops]
        assert logprobs == sorted(logprobs, reverse=True)
        assert tops[0]["id"] == token["id"]
        assert tops[0]["logprob"] == pytest.approx(token["logprob"], abs=1e-5)
    events = server.events("/generate_stream", {"inputs": PROMPT, "parameters": parameters})
    assert [event["top_tokens"] for event in events] == near(details["top_tokens"])


def test_no_tops_are_told_unless_asked_for(server: LiveServer) -> None:
    assert "top_tokens" not in server.generate(PROMPT, max_new_tokens=2, details=True)["details"]
    events = server.events("/generate_stream", {"inputs": PROMPT, "parameters": {"max_new_tokens": 2}})
    assert all("top_tokens" not in event for event in events)


def test_a_chat_tells_the_likeliest_tokens(server: LiveServer) -> None:
    body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 6, "temperature": 0.0}
    body |= {"logprobs": True, "top_logprobs": 2}
    text = server.post("/chat_tokenize", body).json()["templated_text"]
    details = server.generate(text, max_new_tokens=6, top_n_tokens=2, details=True)["details"]
    expected = [
        {
            "token": token["text"],
            "logprob": token["logprob"],
            "top_logprobs": [{"token": top["text"], "logprob": top["logprob"]} for top in tops],
        }
        for token, tops in zip(details["tokens"], details["top_tokens"], strict=True)
    ]
    whole = server.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]["content"]
    *chunks, _done = server.events("/v1/chat/completions", {**body, "stream": True})
    assert whole == near(expected)
    assert [entry for chunk in chunks for entry in chunk["choices"][0]["logprobs"]["content"]] == near(expected)
