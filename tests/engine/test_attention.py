"""`attend_step` against softmax(q k) v written out one query at a time."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig

from tgi_autoround.engine.attention import AttentionOptions, PromptChunk, StepLayout, attend_step
from tgi_autoround.engine.attention_masked import attend_masked
from tgi_autoround.engine.kv_cache import KVCache

HEADS, KV_HEADS, WIDTH, MAX_TOKENS = 4, 2, 8, 64
DECODED = (3, 40, 11)
"""Positions of the tokens of sequences 0 to 2."""
CHUNKS = (PromptChunk(slot=3, start=0, stop=6, offset=3), PromptChunk(slot=4, start=30, stop=43, offset=9))
OPTIONS = {
    "plain": AttentionOptions(),
    "scaling": AttentionOptions(scaling=0.7),
    "window of 1": AttentionOptions(window=1),
    "window": AttentionOptions(window=7),
    "window that is open for some": AttentionOptions(window=20),
    "softcap": AttentionOptions(softcap=0.5),
    "key bias": AttentionOptions(key_bias=torch.linspace(0.05, 0.4, HEADS)[:, None] * torch.arange(MAX_TOKENS)),
    "sinks": AttentionOptions(sinks=torch.tensor([0.5, -1.0, 2.0, 0.0])),
    "window, softcap and key bias": AttentionOptions(
        0.9, 9, 1.5, torch.linspace(0.1, 0.9, HEADS)[:, None] * torch.arange(MAX_TOKENS)
    ),
    "window and sinks": AttentionOptions(window=9, sinks=torch.ones(HEADS)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_attends_as_its_options_say(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    cache = filled_cache(random)
    tokens = len(DECODED) + sum(chunk.stop - chunk.start for chunk in CHUNKS)
    query = torch.randn(HEADS, tokens, WIDTH, generator=random)
    key, value = (torch.randn(KV_HEADS, tokens, WIDTH, generator=random) for _ in range(2))
    got = attend_step(query, key, value, layout(cache), 1, OPTIONS[name])
    for row, (slot, position) in enumerate(places()):
        assert torch.equal(cache.keys[1][slot, :, position], key[:, row])
        for head in range(HEADS):
            expected = attended(query[head, row], cache, slot, position, head, OPTIONS[name])
            assert torch.allclose(got[row, head], expected, atol=1e-5), (slot, position, head)


def filled_cache(random: torch.Generator) -> KVCache:
    config = LlamaConfig(
        hidden_size=HEADS * WIDTH, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, num_hidden_layers=2
    )
    cache = KVCache(config, slots=6, max_tokens=MAX_TOKENS, dtype=torch.float32, device=torch.device("cpu"))
    for tensor in (*cache.keys, *cache.values):
        tensor.copy_(torch.randn(tensor.shape, generator=random))
    return cache


def layout(cache: KVCache) -> StepLayout:
    positions = torch.tensor(DECODED)
    mask = torch.arange(max(DECODED) + 1) <= positions[:, None]
    return StepLayout(cache, positions, mask[:, None, None], CHUNKS)


def places() -> list[tuple[int, int]]:
    """Slot and position of every token of the step's row."""
    chunks = [(chunk.slot, position) for chunk in CHUNKS for position in range(chunk.start, chunk.stop)]
    return [*enumerate(DECODED), *chunks]


def attended(
    query: torch.Tensor, cache: KVCache, slot: int, position: int, head: int, options: AttentionOptions
) -> torch.Tensor:
    """query [head_dim] of one head -> [head_dim], in float64."""
    kv_head = head // (HEADS // KV_HEADS)
    first = 0 if options.window is None else max(0, position + 1 - options.window)
    scores = []
    for key_position in range(first, position + 1):
        product = float(query.double() @ cache.keys[1][slot, kv_head, key_position].double())
        score = product * (WIDTH**-0.5 if options.scaling is None else options.scaling)
        if options.softcap is not None:
            score = options.softcap * math.tanh(score / options.softcap)
        if options.key_bias is not None:
            score += float(options.key_bias[head, key_position])
        scores.append(score)
    if options.sinks is not None:
        scores.append(float(options.sinks[head]))
    weights = torch.tensor(scores, dtype=torch.float64).softmax(0)[: position + 1 - first]
    return (weights @ cache.values[1][slot, kv_head, first : position + 1].double()).float()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_long_prompt_is_attended_in_blocks_that_hold_a_bounded_number_of_scores(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    query = torch.randn(1, HEADS, 30, WIDTH, generator=random)
    keys, values = (torch.randn(1, KV_HEADS, MAX_TOKENS, WIDTH, generator=random) for _ in range(2))
    arguments = query, keys, values, torch.arange(MAX_TOKENS - 30, MAX_TOKENS)[None], OPTIONS[name]
    whole = attend_masked(*arguments)
    scores_of_a_token = HEADS * (MAX_TOKENS + 1)
    monkeypatch.setattr("tgi_autoround.engine.attention_masked.SCORES_AT_ONCE", 4 * scores_of_a_token)
    with LargestTensor() as seen:
        in_blocks = attend_masked(*arguments)
    assert torch.allclose(in_blocks, whole, atol=1e-6)
    assert seen.numbers <= 4 * scores_of_a_token


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest tensor holds that is made meanwhile."""

    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = operation(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


@pytest.mark.parametrize("name", ["softcap", "sinks"])
def test_scores_of_bfloat16_keys_are_not_rounded_to_bfloat16(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    query = 20 * torch.randn(1, HEADS, 30, WIDTH, generator=random)
    keys, values = (torch.randn(1, KV_HEADS, MAX_TOKENS, WIDTH, generator=random) for _ in range(2))
    rounded = [tensor.bfloat16() for tensor in (query, keys, values)]
    places, options = torch.arange(MAX_TOKENS - 30, MAX_TOKENS)[None], replace(OPTIONS[name], scaling=1.0)
    if options.softcap is not None:
        options = replace(options, softcap=50.0)
    expected = attend_masked(*(tensor.float() for tensor in rounded), places, options)
    got = attend_masked(*rounded, places, options)
    assert got.dtype == torch.bfloat16
    assert (got - expected).norm() < 0.004 * expected.norm()
