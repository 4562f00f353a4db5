"""`/generate`, `/` and `/tokenize` give what TGI gives."""

import itertools
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from tests.server.live import LiveServer, near

PROMPT = "What is a list?"


def test_the_text_is_left_alone_without_details(server: LiveServer) -> None:
    assert set(server.generate(PROMPT, max_new_tokens=3)) == {"generated_text"}


def test_details_tell_every_token(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    answer = server.generate(PROMPT, max_new_tokens=12, details=True)
    details = answer["details"]
    tokens = details.pop("tokens")
    assert details == {"finish_reason": "length", "generated_tokens": 12, "seed": None, "prefill": []}
    assert [set(token) for token in tokens] == [{"id", "text", "logprob", "special"}] * 12
    assert tokenizer.decode([token["id"] for token in tokens], skip_special_tokens=True) == answer["generated_text"]
    assert all(token["logprob"] < 0 for token in tokens)


def test_greedy_decoding_repeats_itself(server: LiveServer) -> None:
    assert server.generate(PROMPT, max_new_tokens=20) == server.generate(PROMPT, max_new_tokens=20, temperature=1.0)


def test_a_request_without_parameters_samples(server: LiveServer) -> None:
    """Its output fills the room, so it is left after a few tokens; greedy decoding would repeat itself."""
    openings = set()
    for _ in range(3):
        with server.stream("/generate_stream", {"inputs": PROMPT}) as events:
            openings.add(tuple(event["token"]["id"] for event in itertools.islice(events, 8)))
    assert len(openings) > 1


@pytest.mark.parametrize(
    "parameters",
    [{"do_sample": True}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}, {"typical_p": 0.9}],
)
def test_a_seed_fixes_the_sample_and_is_reported(server: LiveServer, parameters: dict[str, object]) -> None:
    first, second = (
        server.generate(PROMPT, max_new_tokens=16, details=True, seed=2**64 - 1, **parameters) for _ in range(2)
    )
    assert first == near(second)
    assert first["details"]["seed"] == 2**64 - 1


def test_another_seed_gives_another_sample(server: LiveServer) -> None:
    texts = {server.generate(PROMPT, max_new_tokens=16, do_sample=True, seed=seed)["generated_text"] for seed in (1, 2)}
    assert len(texts) == 2


def test_a_random_seed_is_reported_and_repeats_the_sample(server: LiveServer) -> None:
    first = server.generate(PROMPT, max_new_tokens=16, details=True, do_sample=True)
    again = server.generate(PROMPT, max_new_tokens=16, do_sample=True, seed=first["details"]["seed"])
    assert again["generated_text"] == first["generated_text"]


def test_a_stop_sequence_ends_the_text_and_stays_in_it(server: LiveServer) -> None:
    text = server.generate(PROMPT, max_new_tokens=30)["generated_text"]
    tokens = server.generate(PROMPT, max_new_tokens=30, details=True)["details"]["tokens"]
    stop = tokens[3]["text"]
    stopped = server.generate(PROMPT, max_new_tokens=30, details=True, stop=[stop])
    assert stopped["details"]["finish_reason"] == "stop_sequence"
    assert stopped["generated_text"] == text[: text.index(stop) + len(stop)]


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-3])
def test_a_tiny_temperature_is_greedy(server: LiveServer, temperature: float) -> None:
    cold = server.generate(PROMPT, max_new_tokens=6, temperature=temperature, details=True)
    assert cold["generated_text"] == server.generate(PROMPT, max_new_tokens=6)["generated_text"]
    assert {token["logprob"] for token in cold["details"]["tokens"]} == {0.0}


def test_penalties_change_the_choice_of_tokens(server: LiveServer) -> None:
    plain = _ids(server.generate(PROMPT, max_new_tokens=80, details=True))
    assert len(set(plain)) < 80
    penalized = _ids(server.generate(PROMPT, max_new_tokens=80, details=True, repetition_penalty=5.0))
    assert len(set(penalized)) == 80
    assert _ids(server.generate(PROMPT, max_new_tokens=80, details=True, frequency_penalty=2.0)) != plain


def test_truncate_keeps_the_end_of_the_prompt(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    last_two = tokenizer.decode(tokenizer(PROMPT).input_ids[-2:])
    response = server.post("/generate", {"inputs": PROMPT, "parameters": {"truncate": 2, "max_new_tokens": 5}})
    assert response.headers["x-prompt-tokens"] == "2"
    assert response.json() == server.generate(last_two, max_new_tokens=5)


def test_return_full_text_puts_the_prompt_first(server: LiveServer) -> None:
    text = server.generate("naïve 😀", max_new_tokens=4)["generated_text"]
    assert server.generate("naïve 😀", max_new_tokens=4, return_full_text=True)["generated_text"] == "naïve 😀" + text


def test_the_output_fills_the_room_when_no_length_is_given(small_server: LiveServer) -> None:
    """More than the 1024 tokens that TGI reserves at first."""
    details = small_server.generate("def", details=True)["details"]
    prompt_tokens = len(small_server.post("/tokenize", {"inputs": "def"}).json())
    assert (details["finish_reason"], details["generated_tokens"]) == ("length", 2048 - prompt_tokens)


def test_headers_tell_sizes_and_times(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    headers = server.post("/generate", {"inputs": "né 😀", "parameters": {"max_new_tokens": 7}}).headers
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-compute-characters"] == "4"
    assert headers["x-prompt-tokens"] == str(len(tokenizer("né 😀").input_ids))
    assert headers["x-generated-tokens"] == "7"
    times = [int(headers[f"x-{name}"]) for name in ("validation-time", "queue-time", "inference-time")]
    assert sum(times) <= int(headers["x-total-time"]) + 1
    assert float(headers["x-compute-time"]) == pytest.approx(int(headers["x-total-time"]) / 1000, abs=0.001)


def test_the_root_route_answers_with_a_list_and_the_prompt(server: LiveServer) -> None:
    text = server.generate(PROMPT, max_new_tokens=4)["generated_text"]
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 4}}
    assert server.post("/", body).json() == [{"generated_text": PROMPT + text}]
    body["parameters"] |= {"return_full_text": False}
    assert server.post("/", body).json() == [{"generated_text": text}]
    assert server.events("/", {**body, "stream": True})[-1]["generated_text"] == text


def test_decoder_input_details_bring_details_with_an_empty_prefill(small_server: LiveServer) -> None:
    """The prompt's tokens would need `--enable-prefill-logprobs`."""
    assert small_server.generate(PROMPT, max_new_tokens=2, decoder_input_details=True)["details"]["prefill"] == []


def test_tokenize_tells_ids_and_byte_ranges(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    text = "naïve 😀 list"
    tokens = server.post("/tokenize", {"inputs": text}).json()
    assert [token["id"] for token in tokens] == tokenizer(text).input_ids
    for token in tokens:
        assert text.encode()[token["start"] : token["stop"]].decode() == token["text"]
    assert tokens[-1]["stop"] == len(text.encode())


def _ids(answer: dict[str, Any]) -> list[int]:
    return [token["id"] for token in answer["details"]["tokens"]]
