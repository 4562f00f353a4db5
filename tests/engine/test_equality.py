"""Greedy output equals transformers' `generate()`, whatever else is in the batch."""

import pytest
import torch

from tests.conftest import Quantized
from tests.engine.harness import ask_all, greedy, random_requests, start_engine
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.engine import SamplingParams
from tgi_autoround.modeling import build_model

VOCABULARY = 1024


@pytest.mark.parametrize("max_batch_prefill_tokens", [7, 48, 512])
@pytest.mark.parametrize("max_batch_size", [1, 8])
def test_fp32_greedy_equals_generate_for_every_batch_composition(
    quantized: Quantized, max_batch_prefill_tokens: int, max_batch_size: int
) -> None:
    model_dir = quantized(bits=4)
    model = dequantized_model(model_dir)
    engine = start_engine(
        model_dir,
        cpu_compute="fp32",
        max_batch_prefill_tokens=max_batch_prefill_tokens,
        max_batch_size=max_batch_size,
    )
    requests = random_requests(VOCABULARY, count=16, seed=max_batch_prefill_tokens)
    answers = ask_all(engine, [(ids, SamplingParams(tokens)) for ids, tokens in requests], max_pause_s=0.01)
    engine.stop()
    for (prompt_ids, tokens), answer in zip(requests, answers, strict=True):
        assert answer.token_ids == greedy(model, prompt_ids, tokens)


def test_recycled_memory_under_the_cache_reaches_no_output(quantized: Quantized) -> None:
    """Sequences of different lengths in one batch: the shorter ones' unused positions are masked, not absent."""
    model_dir = quantized(bits=4)
    dirty = [torch.full((2**18,), torch.nan) for _ in range(64)]
    del dirty
    engine = start_engine(model_dir, cpu_compute="fp32", max_batch_size=4, max_total_tokens=128)
    assert not any(tensor.isnan().any() for tensor in (*engine._runner._cache.keys, *engine._runner._cache.values))
    requests = [(list(range(3, 3 + length)), 20) for length in (5, 40, 90)]
    answers = ask_all(engine, [(ids, SamplingParams(tokens)) for ids, tokens in requests])
    engine.stop()
    model = dequantized_model(model_dir)
    assert [answer.token_ids for answer in answers] == [greedy(model, ids, tokens) for ids, tokens in requests]


def test_int8_greedy_leaves_the_best_token_only_within_the_kernels_error(quantized: Quantized) -> None:
    """Teacher-forced on the engine's own tokens: what it took is the best token, or as good within the error."""
    model_dir = quantized(bits=4)
    model = dequantized_model(model_dir)
    int8_model = build_model(open_checkpoint(model_dir), device=torch.device("cpu"), dtype=torch.float32)
    engine = start_engine(model_dir, cpu_compute="int8", max_batch_size=8)
    requests = random_requests(VOCABULARY, count=12, seed=1)
    answers = ask_all(engine, [(ids, SamplingParams(tokens)) for ids, tokens in requests])
    engine.stop()
    for (prompt_ids, _tokens), answer in zip(requests, answers, strict=True):
        row = torch.tensor([prompt_ids + answer.token_ids[:-1]])
        with torch.no_grad():
            exact = model(row).logits[0, len(prompt_ids) - 1 :]
            error = (int8_model(row).logits[0, len(prompt_ids) - 1 :] - exact).abs().max()
        taken = exact.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        assert (exact.max(-1).values - taken).max() <= 2 * error
        assert error < 0.1 * exact.std()


def test_logprobs_are_those_of_the_model(quantized: Quantized) -> None:
    model_dir = quantized(bits=4)
    engine = start_engine(model_dir, cpu_compute="fp32")
    prompt_ids = list(range(3, 30))
    (answer,) = ask_all(engine, [(prompt_ids, SamplingParams(max_new_tokens=10))])
    engine.stop()
    with torch.no_grad():
        logits = dequantized_model(model_dir)(torch.tensor([prompt_ids + answer.token_ids[:-1]])).logits
    expected = logits[0, len(prompt_ids) - 1 :].log_softmax(-1).gather(1, torch.tensor(answer.token_ids)[:, None])
    got = torch.tensor([output.token.logprob for output in answer.outputs])
    assert torch.allclose(got, expected[:, 0], atol=1e-4)
