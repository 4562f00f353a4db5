"""`/v1/chat/completions`, `/chat_tokenize` and `/v1/completions` give what TGI gives."""

import time

import httpx
import pytest
from transformers import PreTrainedTokenizerBase

from tests.server.live import LiveServer, near

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a list?"}]
GREEDY = {"temperature": 0.0, "max_tokens": 10}


def test_the_chat_template_makes_the_prompt(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    expected = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    answer = server.post("/chat_tokenize", {"messages": MESSAGES}).json()
    assert answer["templated_text"] == expected
    ids = tokenizer(expected, add_special_tokens=False).input_ids
    assert [token["id"] for token in answer["tokenize_response"]] == ids


def test_a_last_message_of_the_assistants_is_continued(server: LiveServer) -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": "A list is "}]
    text = server.post("/chat_tokenize", {"messages": messages}).json()["templated_text"]
    assert text.endswith("What is a list?\nassistant: A list is")


def test_another_chat_template_can_be_given(small_server: LiveServer) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert small_server.post("/chat_tokenize", {"messages": messages}).json()["templated_text"] == "<a><b>"


def test_a_template_that_refuses_the_messages_is_an_error(small_server: LiveServer) -> None:
    response = small_server.post("/v1/chat/completions", {"messages": MESSAGES, "stream": True})
    assert response.status_code == 422
    assert response.json() == {"error": "Template error: no system prompts", "error_type": "template_error"}


def test_content_in_parts_is_joined(server: LiveServer) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "a list?"}]
    in_parts = server.post("/chat_tokenize", {"messages": [{"role": "user", "content": parts}]}).json()
    whole = server.post("/chat_tokenize", {"messages": [{"role": "user", "content": "What is a list?"}]}).json()
    assert in_parts == whole


def test_a_greedy_chat_is_the_greedy_continuation_of_the_template(server: LiveServer) -> None:
    text = server.post("/chat_tokenize", {"messages": MESSAGES}).json()["templated_text"]
    response = server.post("/v1/chat/completions", {"messages": MESSAGES, **GREEDY})
    choice = response.json()["choices"][0]
    continuation = server.generate(text, max_new_tokens=10)["generated_text"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": continuation},
        "logprobs": None,
        "finish_reason": "length",
    }


def test_the_answer_has_openais_fields(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    response = server.post("/v1/chat/completions", {"messages": MESSAGES, **GREEDY})
    body = response.json()
    prompt_tokens = len(tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True)["input_ids"])
    assert body["object"] == "chat.completion"
    assert body["id"] == ""
    assert abs(body["created"] - time.time()) < 5
    assert body["model"] == server.http.get("/info").json()["model_id"]
    assert body["system_fingerprint"].endswith("-native")
    assert body["usage"] == {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 10,
        "total_tokens": prompt_tokens + 10,
    }
    assert response.headers["x-prompt-tokens"] == str(prompt_tokens)


def test_the_answer_carries_the_models_name_that_was_asked_for(server: LiveServer) -> None:
    body = {"messages": MESSAGES, **GREEDY, "max_completion_tokens": 1}
    assert server.post("/v1/chat/completions", {**body, "model": "gpt-4"}).json()["model"] == "gpt-4"
    assert server.post("/v1/chat/completions", {**body, "model": "tgi"}).json()["model"] != "tgi"


def test_max_completion_tokens_is_max_tokens(server: LiveServer) -> None:
    body = {"messages": MESSAGES, "temperature": 0.0, "max_completion_tokens": 3}
    assert server.post("/v1/chat/completions", body).json()["usage"]["completion_tokens"] == 3


def test_chats_sample_unless_the_temperature_is_zero(server: LiveServer) -> None:
    body = {"messages": MESSAGES, "max_tokens": 10}
    texts = {_content(server.post("/v1/chat/completions", body)) for _ in range(3)}
    assert len(texts) > 1
    assert len({_content(server.post("/v1/chat/completions", {**body, "seed": 4})) for _ in range(2)}) == 1


def test_logprobs_are_the_chosen_tokens(server: LiveServer) -> None:
    text = server.post("/chat_tokenize", {"messages": MESSAGES}).json()["templated_text"]
    tokens = server.generate(text, max_new_tokens=10, details=True)["details"]["tokens"]
    body = {"messages": MESSAGES, **GREEDY, "logprobs": True}
    logprobs = server.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]
    expected = [{"token": token["text"], "logprob": token["logprob"], "top_logprobs": []} for token in tokens]
    assert logprobs["content"] == near(expected)


@pytest.mark.parametrize(
    ("asked", "understood"),
    [
        ({"frequency_penalty": 2.0}, {"frequency_penalty": 2.0}),
        ({"presence_penalty": 1.0}, {"repetition_penalty": 3.0}),
    ],
)
def test_penalties_change_the_likelihood_of_tokens(
    server: LiveServer, asked: dict[str, float], understood: dict[str, float]
) -> None:
    """`presence_penalty` is TGI's repetition penalty, less 2."""
    body = {"messages": MESSAGES, "temperature": 0.0, "max_tokens": 80, "logprobs": True}
    text = server.post("/chat_tokenize", body).json()["templated_text"]
    plain, penalized = (_logprobs(server.post("/v1/chat/completions", {**body, **more})) for more in ({}, asked))
    details = server.generate(text, max_new_tokens=80, details=True, **understood)["details"]
    assert penalized == near([token["logprob"] for token in details["tokens"]])
    assert penalized != near(plain)


def test_a_stop_sequence_ends_a_chat(server: LiveServer) -> None:
    body = {"messages": MESSAGES, **GREEDY, "logprobs": True}
    stop = server.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]["content"][2]["token"]
    choice = server.post("/v1/chat/completions", {**body, "stop": [stop]}).json()["choices"][0]
    assert choice["finish_reason"] == "stop_sequence"
    assert choice["message"]["content"].endswith(stop)


def test_tools_that_may_not_be_used_change_nothing(server: LiveServer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    body = {"messages": MESSAGES, **GREEDY}
    with_tools = server.post("/v1/chat/completions", {**body, "tools": [tool], "tool_choice": "none"})
    assert _content(with_tools) == _content(server.post("/v1/chat/completions", body))


def test_a_stream_is_the_same_answer_in_pieces(server: LiveServer) -> None:
    body = {"messages": MESSAGES, "max_tokens": 24, "seed": 11, "logprobs": True}
    whole = server.post("/v1/chat/completions", body).json()
    *chunks, done = server.events("/v1/chat/completions", {**body, "stream": True})
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk["usage"] is None for chunk in chunks)
    assert [choice["finish_reason"] for choice in choices] == [None] * 23 + ["length"]
    text = "".join(choice["delta"]["content"] for choice in choices)
    assert whole["choices"][0]["message"]["content"].rstrip("\ufffd") == text
    logprobs = [entry for choice in choices for entry in choice["logprobs"]["content"]]
    assert logprobs == near(whole["choices"][0]["logprobs"]["content"])


def test_usage_comes_last_when_asked_for(server: LiveServer) -> None:
    body = {"messages": MESSAGES, **GREEDY, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, _done = server.events("/v1/chat/completions", body)
    assert usage["choices"] == []
    assert usage["usage"] == server.post("/v1/chat/completions", {**body, "stream": False}).json()["usage"]
    assert all(chunk["choices"] for chunk in chunks)


def test_every_prompt_of_a_completion_is_answered_in_order(server: LiveServer) -> None:
    body = {"prompt": ["What is", "A list is a", "def f"], **GREEDY}
    response = server.post("/v1/completions", body)
    answer = response.json()
    alone = [server.generate(prompt, max_new_tokens=10)["generated_text"] for prompt in body["prompt"]]
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [
        {"index": index, "text": text, "logprobs": None, "finish_reason": "length"} for index, text in enumerate(alone)
    ]
    assert answer["usage"]["completion_tokens"] == 30
    assert response.headers["x-generated-tokens"] == "30"
    assert response.headers["x-compute-characters"] == str(sum(map(len, body["prompt"])))
    assert "x-compute-time" not in response.headers


def test_a_completion_streams_every_prompt_and_its_usage(server: LiveServer) -> None:
    body = {"prompt": ["What is", "A list is a"], **GREEDY}
    texts = [choice["text"] for choice in server.post("/v1/completions", body).json()["choices"]]
    *chunks, done = server.events("/v1/completions", {**body, "stream": True})
    assert done == "[DONE]"
    for index, text in enumerate(texts):
        own = [chunk for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(chunk["choices"][0]["text"] for chunk in own) == text.rstrip("\ufffd")
        assert [chunk["choices"][0]["finish_reason"] for chunk in own] == [""] * 9 + ["length"]
        assert ["usage" in chunk for chunk in own] == [False] * 9 + [True]


def test_a_completion_has_tgis_parameters(server: LiveServer) -> None:
    body = {"prompt": "A list", "max_tokens": 30, "seed": 5}
    for asked in ({}, {"top_p": 0.8}, {"repetition_penalty": 2.0}, {"frequency_penalty": 1.5}, {"stop": ["e", "a"]}):
        (choice,) = server.post("/v1/completions", {**body, **asked}).json()["choices"]
        same = server.generate("A list", max_new_tokens=30, do_sample=True, seed=5, details=True, **asked)
        assert (choice["text"], choice["finish_reason"]) == (same["generated_text"], same["details"]["finish_reason"])


def _content(response: httpx.Response) -> str:
    return response.json()["choices"][0]["message"]["content"]


def _logprobs(response: httpx.Response) -> list[float]:
    return [entry["logprob"] for entry in response.json()["choices"][0]["logprobs"]["content"]]
