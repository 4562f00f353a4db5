"""A directory in peft's layout -> the low-rank products in it."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tgi_autoround.engine.config import LoraAdapter
from tgi_autoround.errors import CheckpointError, UnsupportedError

HARMLESS_FIELDS = frozenset(
    {
        "alpha_pattern",
        "arrow_config",
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Fields of adapter_config.json that are understood here, or matter to training only; any other has to be neutral."""
NEUTRAL: tuple[object, ...] = (None, False, "none", "", [], {})
INITIAL_WEIGHTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin the training that leave the base model's weights as they are."""
_REMEDY = "merge the adapter into the model before it is quantized"
TENSOR = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<factor>[AB])(?:\.default)?\.weight")


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to a linear's output: `(x @ down.T) @ up.T`.

    down: [rank, in_features]; up: [out_features, rank], the adapter's scaling multiplied into it
    """

    down: torch.Tensor
    up: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: [rows, in_features] -> [rows, out_features]"""
        return (x @ self.down.T) @ self.up.T


def read_adapter(adapter: LoraAdapter) -> dict[str, LowRank]:
    """Return an adapter's products, float32 on the CPU, by the paths of the linears in transformers' model.

    Raises CheckpointError where files are missing or contradict each other, UnsupportedError where peft would do more
    than add products.
    """
    config = _read_config(adapter)
    _check_config(adapter, config)
    factors = _read_factors(adapter)
    return {path: _product(adapter, config, path, *factors[path]) for path in factors}


def _read_config(adapter: LoraAdapter) -> dict[str, Any]:
    file = adapter.path / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"LoRA adapter {adapter.id!r}: {file} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UnsupportedError(f"LoRA adapter {adapter.id!r}: {file} does not say peft_type LORA; only LoRA is served")
    return config


def _check_config(adapter: LoraAdapter, config: dict[str, Any]) -> None:
    for field, value in config.items():
        if field not in HARMLESS_FIELDS and value not in NEUTRAL:
            raise UnsupportedError(f"LoRA adapter {adapter.id!r}: {field} is {value!r}, which is not served; {_REMEDY}")
    initial = config.get("init_lora_weights")
    if initial not in INITIAL_WEIGHTS:
        raise UnsupportedError(
            f"LoRA adapter {adapter.id!r}: init_lora_weights {initial!r} changes the base model's weights too; "
            "have peft convert the adapter to plain LoRA"
        )


def _read_factors(adapter: LoraAdapter) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    file = adapter.path / "adapter_model.safetensors"
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"LoRA adapter {adapter.id!r}: {file} cannot be read: {error}") from error
    factors: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = TENSOR.fullmatch(name)
        if match is None:
            raise UnsupportedError(f"LoRA adapter {adapter.id!r}: tensor {name!r} is no factor of LoRA; {_REMEDY}")
        factors.setdefault(match["path"], {})[match["factor"]] = tensor.float()
    for path, pair in factors.items():
        if len(pair) != 2:
            raise CheckpointError(f"LoRA adapter {adapter.id!r}: {path} has lora_{next(iter(pair))} alone")
    if not factors:
        raise CheckpointError(f"LoRA adapter {adapter.id!r}: {file} holds no tensors")
    return {path: (pair["A"], pair["B"]) for path, pair in factors.items()}


def _product(adapter: LoraAdapter, config: dict[str, Any], path: str, down: torch.Tensor, up: torch.Tensor) -> LowRank:
    rank = _of_pattern(config.get("rank_pattern"), path, config.get("r"))
    if down.ndim != 2 or up.ndim != 2 or not rank == down.shape[0] == up.shape[1]:
        raise CheckpointError(
            f"LoRA adapter {adapter.id!r}: {path} has lora_A {list(down.shape)} and lora_B {list(up.shape)}, "
            f"but adapter_config.json says rank {rank}; the files are not from the same job"
        )
    alpha = _of_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha"))
    if not isinstance(alpha, (int, float)):
        raise CheckpointError(f"LoRA adapter {adapter.id!r}: lora_alpha is {alpha!r}; it must be a number")
    return LowRank(down, up * (alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)))


def _of_pattern(patterns: dict[str, Any] | None, path: str, default: Any) -> Any:
    """As peft's get_pattern_key: a pattern names whole last parts of the path."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return value
    return default
