"""How large the engine is: the options that users give, and the limits that follow from the model and the machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedConfig

from tgi_autoround.errors import ConfigError

DEFAULT_MAX_TOTAL_TOKENS = 4096
DEFAULT_MAX_BATCH_SIZE = 64
DEFAULT_STEP_TOKENS = 512
"""Prompt tokens computed in one step where no stream is held up by it: more raise throughput but little."""
DEFAULT_WAITING_SERVED_RATIO = 1.2
"""Prompts that wait for each running stream from which on steps are for prompts; TGI's own example of the option."""
MEMORY_SHARE_FOR_CACHE = 0.25
"""Of the free memory of a host, which others need too."""
GPU_MEMORY_SHARE_FOR_CACHE = 0.8
"""Of the free memory of a GPU; the rest is for what a step computes, and for graphs."""
PREFIX_SHARE = 0.125
"""Part of the cache for prefixes where slots take their memory at once, and so cannot share it with them."""
_COUNTS = (
    "max_input_tokens",
    "max_total_tokens",
    "max_batch_prefill_tokens",
    "max_batch_total_tokens",
    "max_batch_size",
    "max_waiting_tokens",
    "kv_cache_bytes",
)


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """An adapter that requests name by `id`, and the directory that holds it in peft's layout."""

    id: str
    path: Path


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the user chose; None leaves the choice to the engine."""

    model_dir: Path
    quantize: str | None = None
    dtype: str | None = None
    cpu_compute: Literal["int8", "fp32"] = "int8"
    max_input_tokens: int | None = None
    max_total_tokens: int | None = None
    max_batch_prefill_tokens: int | None = None
    max_batch_total_tokens: int | None = None
    max_batch_size: int | None = None
    kv_cache_bytes: int | None = None
    kv_cache_dtype: str | None = None
    """Type of stored keys and values, float32 or bfloat16; None is the one that the model computes in."""
    max_waiting_tokens: int | None = None
    waiting_served_ratio: float | None = None
    prefix_caching: bool = True
    trust_remote_code: bool = False
    threads: int | None = None
    cuda_graphs: tuple[int, ...] | None = None
    """Batch sizes whose decode step is captured; () captures none, None leaves the choice to the engine."""
    cuda_memory_fraction: float = 1.0
    """Share of a GPU's memory that may be used."""
    lm_head_bits: int | None = None
    """Bits that the output projection is rounded to: 4, 8, or 16 to keep it as it is stored."""
    lora_adapters: tuple[LoraAdapter, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine takes. Tokens of a request are its prompt and all it may generate."""

    max_input_tokens: int
    max_total_tokens: int
    max_batch_prefill_tokens: int
    max_batch_total_tokens: int
    """Tokens in the cache at any time; where memory is taken as tokens arrive, stored prefixes are among them."""
    max_batch_size: int
    waiting_served_ratio: float = DEFAULT_WAITING_SERVED_RATIO
    """Prompts that wait for each running stream from which on a step takes max_batch_prefill_tokens of them."""
    max_waiting_tokens: int | None = None
    """Steps with fewer prompt tokens for the streams' sake after which one takes all; None sets no end to them."""
    prefix_cache_tokens: int = 0
    """Most tokens of prefixes that are kept for prompts that begin alike; 0 keeps none."""


def resolve_limits(
    config: EngineConfig, positions: int, bytes_per_token: int, available_bytes: int, *, reserves_slots: bool
) -> EngineLimits:
    """Return the limits for a model of `positions` positions on a machine with `available_bytes` of free memory.

    `reserves_slots`: each place in the batch takes the memory of max_total_tokens at once, not as tokens arrive.
    Raises ConfigError where options contradict each other, the model or the memory.
    """
    _check_counts(config)
    total, longest_input = _request_lengths(config, positions)
    budget_bytes = _cache_bytes(config, available_bytes, reserves_slots=reserves_slots)
    fitting = _fitting_tokens(config, total, bytes_per_token, budget_bytes)
    budget = config.max_batch_total_tokens or fitting
    slots = config.max_batch_size or DEFAULT_MAX_BATCH_SIZE
    prefix_tokens = budget if config.prefix_caching else 0
    if reserves_slots:
        prefix_tokens = int(prefix_tokens * PREFIX_SHARE)
        if config.max_batch_total_tokens is None and budget - prefix_tokens >= total:
            budget -= prefix_tokens
        slots = min(slots, budget // total)
        budget = min(budget, slots * total)
        prefix_tokens = min(prefix_tokens, fitting - slots * total)
    return EngineLimits(
        max_input_tokens=longest_input,
        max_total_tokens=total,
        max_batch_prefill_tokens=config.max_batch_prefill_tokens or DEFAULT_STEP_TOKENS,
        max_batch_total_tokens=budget,
        max_batch_size=slots,
        waiting_served_ratio=config.waiting_served_ratio or DEFAULT_WAITING_SERVED_RATIO,
        max_waiting_tokens=config.max_waiting_tokens,
        prefix_cache_tokens=min(prefix_tokens, budget),
    )


def _check_counts(config: EngineConfig) -> None:
    for name in _COUNTS:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1, or left out")
    ratio = config.waiting_served_ratio
    if ratio is not None and not ratio > 0:
        raise ConfigError(f"waiting_served_ratio is {ratio}; it must be above 0, or left out")


def _request_lengths(config: EngineConfig, positions: int) -> tuple[int, int]:
    """Return max_total_tokens and max_input_tokens."""
    total = config.max_total_tokens or min(positions, DEFAULT_MAX_TOTAL_TOKENS)
    longest_input = config.max_input_tokens or total - 1
    if total > positions:
        raise ConfigError(f"max_total_tokens is {total}, but the model has {positions} positions; lower it")
    if not 0 < longest_input < total:
        raise ConfigError(
            f"max_input_tokens is {longest_input}; it must be between 1 and max_total_tokens - 1 = {total - 1}"
        )
    return total, longest_input


def _cache_bytes(config: EngineConfig, available_bytes: int, *, reserves_slots: bool) -> int:
    """Return the memory that the cache may take: what was asked for, or its share of what is free."""
    if not reserves_slots:
        share = MEMORY_SHARE_FOR_CACHE if config.max_batch_total_tokens is None else 1
        return config.kv_cache_bytes or int(available_bytes * share)
    most = int(available_bytes * GPU_MEMORY_SHARE_FOR_CACHE)
    if config.kv_cache_bytes is not None and config.kv_cache_bytes > most:
        raise ConfigError(
            f"kv_cache_bytes is {config.kv_cache_bytes / 2**20:.0f} MiB, but of the GPU's free memory "
            f"{most / 2**20:.0f} MiB can be cache; lower it"
        )
    return config.kv_cache_bytes or most


def _fitting_tokens(config: EngineConfig, total: int, bytes_per_token: int, budget_bytes: int) -> int:
    """Return the tokens that fit the memory, which must be those of one request and those asked for."""
    asked = config.max_batch_total_tokens
    if asked is not None and asked < total:
        raise ConfigError(f"max_batch_total_tokens is {asked}; it must be at least max_total_tokens {total}")
    fitting = budget_bytes // bytes_per_token
    if asked is not None and asked > fitting:
        raise ConfigError(
            f"max_batch_total_tokens {asked} needs {asked * bytes_per_token / 2**20:.0f} MiB of cache, "
            f"but there are {budget_bytes / 2**20:.0f} MiB for it; lower it or raise the cache memory"
        )
    if fitting < total:
        raise ConfigError(
            f"one request of max_total_tokens {total} needs {total * bytes_per_token / 2**20:.0f} MiB of cache, "
            f"but the budget is {budget_bytes / 2**20:.0f} MiB; lower max_total_tokens or raise the cache memory"
        )
    return fitting


def position_count(config: PreTrainedConfig) -> int:
    """Return how many positions the model was made for."""
    text = config.get_text_config()
    names = ("max_position_embeddings", "max_seq_len")
    return next((int(getattr(text, name)) for name in names if hasattr(text, name)), DEFAULT_MAX_TOTAL_TOKENS)
