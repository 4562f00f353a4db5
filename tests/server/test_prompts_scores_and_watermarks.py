"""What the model thinks of the prompt's tokens, and text that a detector can tell."""

import itertools
import math

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from tests.server.live import LiveServer, near

PROMPT = "What is a list? A list is"


def test_the_prompts_tokens_come_with_their_logprobs(server: LiveServer, tokenizer: PreTrainedTokenizerBase) -> None:
    prefill = server.generate(PROMPT, max_new_tokens=1, decoder_input_details=True)["details"]["prefill"]
    assert [token["id"] for token in prefill] == tokenizer(PROMPT).input_ids
    assert "".join(token["text"] for token in prefill) == PROMPT
    assert prefill[0]["logprob"] is None
    assert all(token["logprob"] < 0 for token in prefill[1:])


def test_a_generated_token_has_the_same_logprob_in_a_prompt(server: LiveServer) -> None:
    answer = server.generate(PROMPT, max_new_tokens=6, details=True, return_full_text=True)
    generated = answer["details"]["tokens"]
    whole = server.generate(answer["generated_text"], max_new_tokens=1, decoder_input_details=True)
    scored = whole["details"]["prefill"][-6:]
    assert [token["id"] for token in scored] == [token["id"] for token in generated]
    assert [token["logprob"] for token in scored] == near([token["logprob"] for token in generated])


def test_every_sequence_of_best_of_has_the_prompts_tokens(server: LiveServer) -> None:
    parameters = {"best_of": 2, "do_sample": True, "max_new_tokens": 2, "decoder_input_details": True}
    details = server.generate(PROMPT, **parameters)["details"]
    assert details["prefill"] == near(details["best_of_sequences"][0]["prefill"])


def test_a_watermark_is_seeded(server: LiveServer) -> None:
    """It changes what is said, the same way every time."""
    plain, marked, again = (
        server.generate(PROMPT, max_new_tokens=40, watermark=watermark) for watermark in (False, True, True)
    )
    assert marked == again
    assert marked != plain


@pytest.mark.parametrize(("watermark", "expected"), [(False, 0.5), (True, math.e**2 / (math.e**2 + 1))])
def test_a_detector_tells_watermarked_text(
    server: LiveServer, tokenizer: PreTrainedTokenizerBase, watermark: bool, expected: float
) -> None:
    """Half of the vocabulary, drawn anew after each token, is e^2 times likelier: TGI's defaults, the paper's key."""
    parameters = {"max_new_tokens": 300, "do_sample": True, "seed": 1, "details": True, "watermark": watermark}
    tokens = server.generate(PROMPT, **parameters)["details"]["tokens"]
    ids = [tokenizer(PROMPT).input_ids[-1], *(token["id"] for token in tokens)]
    favoured = [
        chosen in torch.randperm(1024, generator=torch.Generator().manual_seed(15485863 * previous))[:512]
        for previous, chosen in itertools.pairwise(ids)
    ]
    assert sum(favoured) / len(favoured) == pytest.approx(expected, abs=0.1)
