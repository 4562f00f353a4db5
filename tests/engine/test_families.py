"""Greedy output of every family equals transformers' `generate()`, whatever else is in the batch."""

from pathlib import Path

import pytest
import torch

from tests.engine.families import FAMILIES, TOKENS, make_quantized
from tests.engine.harness import Answer, ask_all, greedy, random_requests, start_engine
from tests.oracle import dequantized_model
from tgi_autoround.engine import SamplingParams
from tgi_autoround.engine.families.tested import TESTED

MAX_TOTAL_TOKENS = 200
TIE = 1e-3
"""In logits: sums in another order differ by less, and two tokens that are closer may change places."""


@pytest.mark.parametrize("name", FAMILIES)
def test_fp32_greedy_equals_generate(name: str, tmp_path: Path) -> None:
    """Prompts of up to 150 tokens, well beyond the windows, enter in chunks of up to 23 while others decode."""
    model_dir = make_quantized(FAMILIES[name], tmp_path)
    requests = random_requests(TOKENS["vocab_size"], count=8, seed=len(name))
    engine = start_engine(
        model_dir,
        cpu_compute="fp32",
        max_total_tokens=MAX_TOTAL_TOKENS,
        max_batch_prefill_tokens=23,
        max_batch_size=4,
    )
    answers = ask_all(engine, [(ids, SamplingParams(tokens)) for ids, tokens in requests], max_pause_s=0.01)
    engine.stop()
    model = dequantized_model(model_dir)
    model.set_attn_implementation("eager")  # the default of transformers 5.17 leaves out soft-capping
    for (prompt_ids, tokens), answer in zip(requests, answers, strict=True):
        logits = logits_of(model, prompt_ids, answer)
        assert agree(answer.token_ids, greedy(model, prompt_ids, tokens), logits)
        expected = logits.log_softmax(-1).gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        got = torch.tensor([output.token.logprob for output in answer.outputs])
        assert torch.allclose(got, expected, atol=TIE)


def test_a_type_of_models_counts_as_tested_if_it_is() -> None:
    assert sorted(TESTED) == sorted({family.model_type for family in FAMILIES.values()})


@torch.no_grad()
def logits_of(model: torch.nn.Module, prompt_ids: list[int], answer: Answer) -> torch.Tensor:
    """Return what the model says where it chose each token of an answer, float32 [tokens, vocabulary]."""
    row = torch.tensor([prompt_ids + answer.token_ids[:-1]])
    logits: torch.Tensor = model(row).logits[0, len(prompt_ids) - 1 :]
    return logits


def agree(got: list[int], wanted: list[int], logits: torch.Tensor) -> bool:
    """Whether two answers are the same, or part where the model rates both tokens alike."""
    parting = next((step for step, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), None)
    if parting is None:
        return len(got) == len(wanted)
    rated = logits[parting, [got[parting], wanted[parting]]]
    return bool((rated[0] - rated[1]).abs() < TIE)
