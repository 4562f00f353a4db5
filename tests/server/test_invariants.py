"""Whatever mix of parameters is asked for, some things always hold of the answer."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from tests.server.live import LiveServer, near

SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"type": "array", "items": {"enum": [1, 2]}}},
    "required": ["unit"],
}
PATTERNS = ["[a-c]{2,6}", r"\d+\.\d{2}", "(yes|no|may be)( and (yes|no)){0,2}"]
GRAMMARS = st.one_of(
    st.sampled_from([{"type": "regex", "value": pattern} for pattern in PATTERNS]),
    st.sampled_from([{"type": "json", "value": SCHEMA}, {"type": "json_schema", "value": {"schema": SCHEMA}}]),
)
PROMPTS = st.sampled_from(["What is a list?", "def f(x):", "é 😀", "A list is a list is a list"])
SAMPLING = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**64 - 1), "max_new_tokens": st.integers(1, 24)},
    optional={
        "do_sample": st.booleans(),
        "temperature": st.floats(0.2, 3.0),
        "top_k": st.integers(1, 1100),
        "top_p": st.floats(0.05, 0.99),
        "typical_p": st.floats(0.05, 0.99),
        "repetition_penalty": st.floats(0.5, 3.0),
        "frequency_penalty": st.floats(-2.0, 2.0),
        "truncate": st.integers(1, 6),
        "watermark": st.booleans(),
        "stop": st.lists(st.sampled_from(["e", " the", "s", "a list", "\n", "1"]), max_size=3),
        "top_n_tokens": st.integers(0, 5),
        "grammar": GRAMMARS,
        "return_full_text": st.booleans(),
        "decoder_input_details": st.booleans(),
    },
)
MIXES = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@given(prompt=PROMPTS, asked=SAMPLING)
@MIXES
def test_any_mix_of_parameters(
    server: LiveServer, tokenizer: PreTrainedTokenizerBase, prompt: str, asked: dict[str, Any]
) -> None:
    answer = server.generate(prompt, **asked, details=True)
    note(f"answer: {answer}")
    details, text = answer["details"], answer["generated_text"]
    if asked.get("return_full_text"):
        assert text.startswith(prompt)
        text = text.removeprefix(prompt)
    assert_counts(details, asked)
    assert_end(text, details, asked)
    assert_text_is_that_of_the_tokens(text, details)
    assert_top_tokens(details, asked)
    assert_prefill(details, asked, tokenizer(prompt).input_ids)
    assert_stream_is_the_same(server, prompt, asked, answer)
    assert_repeats(server, prompt, asked, answer)


def assert_counts(details: dict[str, Any], asked: dict[str, Any]) -> None:
    assert details["generated_tokens"] == len(details["tokens"]) <= asked["max_new_tokens"]
    assert (details["finish_reason"] == "length") is (details["generated_tokens"] == asked["max_new_tokens"])
    assert all(token["logprob"] <= 1e-5 for token in details["tokens"])


def assert_end(text: str, details: dict[str, Any], asked: dict[str, Any]) -> None:
    """A stop sequence ends the text where a token does, at the first such place; so does the end of text."""
    stops = tuple(asked.get("stop", ()))
    so_far = ""
    for token in details["tokens"][:-1]:
        so_far += token["text"]
        assert not (stops and so_far.endswith(stops))
    last = details["tokens"][-1]
    if details["finish_reason"] == "stop_sequence":
        assert (so_far + last["text"]).endswith(stops)
        assert text.endswith(stops)
    if details["finish_reason"] == "eos_token":
        assert last["special"]
        if "grammar" in asked:
            assert_fits(text, asked["grammar"])


def assert_fits(text: str, grammar: dict[str, Any]) -> None:
    if grammar["type"] == "regex":
        assert re.fullmatch(grammar["value"], text)
    else:
        document = json.loads(text)
        assert document["unit"] in ("celsius", "fahrenheit")
        assert set(document) <= {"unit", "days"}
        assert set(document.get("days", ())) <= {1, 2}


def assert_text_is_that_of_the_tokens(text: str, details: dict[str, Any]) -> None:
    """A token whose bytes end in the middle of a character has no text, but the whole text has a replacement."""
    pieces = "".join(token["text"] for token in details["tokens"] if not token["special"])
    assert text.startswith(pieces)
    assert text == pieces or "\ufffd" in text[len(pieces) :]


def assert_top_tokens(details: dict[str, Any], asked: dict[str, Any]) -> None:
    wanted = asked.get("top_n_tokens", 0)
    assert ("top_tokens" in details) is (wanted > 0)
    for token, tops in zip(details["tokens"], details.get("top_tokens", ()), strict=wanted > 0):
        logprobs = [top["logprob"] for top in tops]
        together = sum(math.exp(logprob) for logprob in logprobs)
        assert logprobs == sorted(logprobs, reverse=True)
        assert together <= 1.001
        # Fewer than asked for are all that may come.
        assert len(tops) >= wanted or together > 0.999
        assert max(logprobs) >= token["logprob"] - 1e-4
        if details["seed"] is None:
            assert tops[0]["logprob"] == pytest.approx(token["logprob"], abs=1e-4)


def assert_prefill(details: dict[str, Any], asked: dict[str, Any], prompt_ids: list[int]) -> None:
    expected = prompt_ids[-asked.get("truncate", len(prompt_ids)) :] if asked.get("decoder_input_details") else []
    assert [token["id"] for token in details["prefill"]] == expected
    assert [token["logprob"] is None for token in details["prefill"]] == [True, *[False] * (len(expected) - 1)][
        : len(expected)
    ]


def assert_stream_is_the_same(server: LiveServer, prompt: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
    parameters = {**asked, "decoder_input_details": False, "details": True}
    events = server.events("/generate_stream", {"inputs": prompt, "parameters": parameters})
    details = answer["details"]
    assert [event["token"] for event in events] == near(details["tokens"])
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["generated_text"] == answer["generated_text"]
    assert {key: events[-1]["details"][key] for key in ("finish_reason", "generated_tokens", "seed")} == {
        key: details[key] for key in ("finish_reason", "generated_tokens", "seed")
    }


def assert_repeats(server: LiveServer, prompt: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
    again = server.generate(prompt, **asked, details=True)
    assert again == near(answer)
    total, total_again = (sum(token["logprob"] for token in one["details"]["tokens"]) for one in (answer, again))
    assert total == pytest.approx(total_again, abs=1e-3)
