"""How much of what a request gets depends on who shares its batch.

auto-round-lib's int8 kernel has one arithmetic for up to four rows and another for more, which differ in the last bits
of float32 (auto-round-lib 0.16.0 on CPUs with AMX). Now and then that turns the rounding of an activation, and with it
a token whose probability is close to another's, as they are in a model of random weights.
"""

import pytest

from tests.conftest import Quantized
from tests.engine.harness import Answer, ask_all, random_requests, start_engine
from tgi_autoround.engine import Engine, EngineConfig, SamplingParams, build_engine
from tgi_autoround.errors import ConfigError

TOKENS = 40
PROMPTS = [prompt for prompt, _tokens in random_requests(vocabulary=250, count=24, seed=1)]
REQUESTS = [
    (prompt, SamplingParams(max_new_tokens=TOKENS, do_sample=bool(index % 2), temperature=0.8, seed=index))
    for index, prompt in enumerate(PROMPTS)
]
LAST_BITS = 1e-5
"""Of logarithms of probabilities; rounding to bfloat16 moves them by 1e-3."""


def test_in_float32_greedy_and_seeded_tokens_are_the_same_alone_and_in_a_batch(quantized: Quantized) -> None:
    alone, together = _alone_and_together(quantized, cpu_compute="fp32")
    assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]


def test_by_default_a_batch_moves_nothing_but_last_bits_and_the_few_tokens_that_int8_makes_of_them(
    quantized: Quantized,
) -> None:
    alone, together = _alone_and_together(quantized)
    equal = [_equal_tokens(*pair) for pair in zip(alone, together, strict=True)]
    moved = sorted(
        abs(own.token.logprob - shared.token.logprob)
        for one, other, tokens in zip(alone, together, equal, strict=True)
        for own, shared in zip(one.outputs[:tokens], other.outputs[:tokens], strict=True)
    )
    assert moved[int(0.9 * len(moved))] < LAST_BITS
    assert sum(tokens < TOKENS for tokens in equal) <= len(REQUESTS) // 8


def _alone_and_together(quantized: Quantized, **options: object) -> tuple[list[Answer], list[Answer]]:
    engine = start_engine(quantized(bits=4), max_total_tokens=512, **options)
    try:
        return [ask_all(engine, [request])[0] for request in REQUESTS], ask_all(engine, REQUESTS)
    finally:
        engine.stop()


def _equal_tokens(one: Answer, other: Answer) -> int:
    pairs = zip(one.token_ids, other.token_ids, strict=False)
    return next((index for index, (own, shared) in enumerate(pairs) if own != shared), TOKENS)


@pytest.mark.parametrize(("asked", "stored"), [(None, "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")])
def test_keys_are_stored_in_float32_unless_bfloat16_is_asked_for(
    quantized: Quantized, asked: str | None, stored: str
) -> None:
    cache = _built(quantized, kv_cache_dtype=asked)._runner._cache
    assert {str(keys.dtype) for keys in cache.keys} == {f"torch.{stored}"}


@pytest.mark.parametrize(
    "options",
    [{"kv_cache_dtype": "float32", "dtype": "bfloat16"}, {"kv_cache_dtype": "bfloat16", "dtype": "float16"}],
)
def test_a_cache_of_another_type_than_transformers_code_computes_in_is_refused(
    quantized: Quantized, options: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=f"kv_cache_dtype is {options['kv_cache_dtype']}, but"):
        _built(quantized, **options)


def _built(quantized: Quantized, **options: object) -> Engine:
    return build_engine(EngineConfig(quantized(bits=4), max_total_tokens=64, **options))[0]  # type: ignore[arg-type]
