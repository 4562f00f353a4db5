from pathlib import Path

import pytest

from tgi_autoround.engine.config import EngineConfig, EngineLimits, resolve_limits
from tgi_autoround.errors import ConfigError

GIB = 2**30


def limits(available_bytes: int = 8 * GIB, **options: int) -> EngineLimits:
    return resolve_limits(
        EngineConfig(Path("model"), **options),  # type: ignore[arg-type]
        positions=8192,
        bytes_per_token=2**16,
        available_bytes=available_bytes,
    )


def test_defaults_follow_from_the_model_and_a_quarter_of_the_free_memory() -> None:
    assert limits() == EngineLimits(
        max_input_tokens=4095,
        max_total_tokens=4096,
        max_batch_prefill_tokens=512,
        max_batch_total_tokens=8 * 4096,
        max_batch_size=8,
    )


def test_the_cache_never_passes_its_budget() -> None:
    chosen = limits(kv_cache_bytes=GIB, max_total_tokens=1000, max_batch_size=1000)
    assert chosen.max_batch_size * chosen.max_total_tokens * 2**16 <= GIB


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_total_tokens": 9000}, "the model has 8192 positions"),
        ({"max_total_tokens": 100, "max_input_tokens": 100}, "between 1 and max_total_tokens - 1 = 99"),
        ({"max_batch_total_tokens": 100}, "at least max_total_tokens 4096"),
        ({"kv_cache_bytes": 2**20}, "needs 256 MiB of cache, but the budget is 1 MiB"),
        ({"max_batch_size": 0}, "max_batch_size is 0; it must be at least 1"),
        ({"max_input_tokens": -5}, "max_input_tokens is -5"),
    ],
)
def test_contradictions_are_refused_by_field_and_value(options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        limits(**options)
