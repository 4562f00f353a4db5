"""How large the engine is: the options that users give, and the limits that follow from the model and the machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedConfig

from tgi_autoround.errors import ConfigError

DEFAULT_MAX_TOTAL_TOKENS = 4096
DEFAULT_MAX_BATCH_SIZE = 64
DEFAULT_STEP_TOKENS = 512
"""Prompt tokens computed in one step: more raises throughput, and the pause of streams while a prompt enters."""
MEMORY_SHARE_FOR_CACHE = 0.25
_COUNTS = (
    "max_input_tokens",
    "max_total_tokens",
    "max_batch_prefill_tokens",
    "max_batch_total_tokens",
    "max_batch_size",
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
    max_waiting_tokens: int | None = None
    waiting_served_ratio: float | None = None
    prefix_caching: bool = True
    trust_remote_code: bool = False
    threads: int | None = None
    cuda_graphs: tuple[int, ...] | None = None
    """Batch sizes whose decode step is captured; () captures none, None leaves the choice to the engine."""
    lm_head_bits: Literal[4, 8] | None = None
    """Bits that the output projection is rounded to; None keeps it as it is stored."""
    lora_adapters: tuple[LoraAdapter, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine takes. Tokens of a request are its prompt and all it may generate."""

    max_input_tokens: int
    max_total_tokens: int
    max_batch_prefill_tokens: int
    max_batch_total_tokens: int
    max_batch_size: int


def resolve_limits(config: EngineConfig, positions: int, bytes_per_token: int, available_bytes: int) -> EngineLimits:
    """Return the limits for a model of `positions` positions on a machine with `available_bytes` of free memory.

    Raises ConfigError where options contradict each other, the model or the memory.
    """
    for name in _COUNTS:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1, or left out")
    total = config.max_total_tokens or min(positions, DEFAULT_MAX_TOTAL_TOKENS)
    longest_input = config.max_input_tokens or total - 1
    if total > positions:
        raise ConfigError(f"max_total_tokens is {total}, but the model has {positions} positions; lower it")
    if not 0 < longest_input < total:
        raise ConfigError(
            f"max_input_tokens is {longest_input}; it must be between 1 and max_total_tokens - 1 = {total - 1}"
        )
    budget_bytes = config.kv_cache_bytes or int(available_bytes * MEMORY_SHARE_FOR_CACHE)
    slots_in_budget = budget_bytes // (total * bytes_per_token)
    if slots_in_budget == 0:
        raise ConfigError(
            f"one request of max_total_tokens {total} needs {total * bytes_per_token / 2**20:.0f} MiB of cache, "
            f"but the budget is {budget_bytes / 2**20:.0f} MiB; lower max_total_tokens or raise the cache memory"
        )
    slots = min(config.max_batch_size or DEFAULT_MAX_BATCH_SIZE, slots_in_budget)
    batch_total = config.max_batch_total_tokens or slots * total
    if batch_total < total:
        raise ConfigError(f"max_batch_total_tokens is {batch_total}; it must be at least max_total_tokens {total}")
    return EngineLimits(
        max_input_tokens=longest_input,
        max_total_tokens=total,
        max_batch_prefill_tokens=config.max_batch_prefill_tokens or DEFAULT_STEP_TOKENS,
        max_batch_total_tokens=min(batch_total, slots * total),
        max_batch_size=slots,
    )


def position_count(config: PreTrainedConfig) -> int:
    """Return how many positions the model was made for."""
    return int(getattr(config, "max_position_embeddings", DEFAULT_MAX_TOTAL_TOKENS))
