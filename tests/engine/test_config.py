from pathlib import Path

import pytest

from tgi_autoround.engine.config import EngineConfig, EngineLimits, resolve_limits
from tgi_autoround.errors import ConfigError

GIB = 2**30


def limits(available_bytes: int = 8 * GIB, *, reserves_slots: bool = False, **options: int) -> EngineLimits:
    return resolve_limits(
        EngineConfig(Path("model"), **options),  # type: ignore[arg-type]
        positions=8192,
        bytes_per_token=2**16,
        available_bytes=available_bytes,
        reserves_slots=reserves_slots,
    )


def test_defaults_follow_from_the_model_and_a_quarter_of_the_free_memory() -> None:
    assert limits() == EngineLimits(
        max_input_tokens=4095,
        max_total_tokens=4096,
        max_batch_prefill_tokens=512,
        max_batch_total_tokens=8 * 4096,
        max_batch_size=64,
        prefix_cache_tokens=8 * 4096,
    )


@pytest.mark.parametrize("prefix_caching", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_batch_size": 3},
        {"kv_cache_bytes": GIB, "max_total_tokens": 1000},
        {"max_batch_total_tokens": 100_000},
        {"kv_cache_bytes": 5000 * 2**16},
    ],
)
def test_slots_that_are_reserved_and_prefixes_fit_the_budget_together(
    options: dict[str, int], prefix_caching: bool
) -> None:
    chosen = limits(reserves_slots=True, prefix_caching=prefix_caching, **options)
    slot_tokens = chosen.max_batch_size * chosen.max_total_tokens
    assert chosen.max_batch_total_tokens <= slot_tokens
    assert (chosen.prefix_cache_tokens > 0) == prefix_caching
    assert (slot_tokens + chosen.prefix_cache_tokens) * 2**16 <= options.get("kv_cache_bytes", 0.8 * 8 * GIB)


@pytest.mark.parametrize(
    "options",
    [{"max_batch_total_tokens": 102_400}, {"kv_cache_bytes": 4096 * 2**16}, {"kv_cache_bytes": int(6.4 * GIB)}],
)
def test_reserved_memory_that_slots_take_whole_is_not_taken_for_prefixes_again(options: dict[str, int]) -> None:
    chosen = limits(reserves_slots=True, **options)
    tokens = chosen.max_batch_size * chosen.max_total_tokens + chosen.prefix_cache_tokens
    assert tokens * 2**16 <= options.get("kv_cache_bytes", int(0.8 * 8 * GIB))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_batch_total_tokens": 110_000}, "max_batch_total_tokens 110000 needs 6875 MiB of cache"),
        ({"kv_cache_bytes": 7 * GIB}, "kv_cache_bytes is 7168 MiB"),
    ],
)
def test_a_fifth_of_a_gpus_free_memory_stays_for_the_steps_whatever_is_asked(
    options: dict[str, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        limits(reserves_slots=True, **options)


def test_on_a_cpu_max_batch_total_tokens_may_take_all_free_memory() -> None:
    assert limits(max_batch_total_tokens=131_000).max_batch_total_tokens == 131_000


def test_prefixes_are_not_kept_where_that_is_switched_off() -> None:
    assert limits(prefix_caching=False).prefix_cache_tokens == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_total_tokens": 9000}, "the model has 8192 positions"),
        ({"max_total_tokens": 100, "max_input_tokens": 100}, "between 1 and max_total_tokens - 1 = 99"),
        ({"max_batch_total_tokens": 100}, "at least max_total_tokens 4096"),
        ({"kv_cache_bytes": 2**20}, "needs 256 MiB of cache, but the budget is 1 MiB"),
        ({"max_batch_total_tokens": 140_000}, "needs 8750 MiB of cache, but there are 8192 MiB for it"),
        ({"max_batch_total_tokens": 20_000, "kv_cache_bytes": GIB}, "but there are 1024 MiB for it"),
        ({"waiting_served_ratio": -1}, "waiting_served_ratio is -1; it must be above 0"),
        ({"max_waiting_tokens": 0}, "max_waiting_tokens is 0"),
        ({"max_batch_size": 0}, "max_batch_size is 0; it must be at least 1"),
        ({"max_input_tokens": -5}, "max_input_tokens is -5"),
    ],
)
def test_contradictions_are_refused_by_field_and_value(options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        limits(**options)
