"""The float model that is to be quantized: its files, and the linear layers that its architecture has."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from tgi_autoround.checkpoint import Checkpoint, open_checkpoint
from tgi_autoround.checkpoint.header import BYTES_OF_DTYPE
from tgi_autoround.errors import QuantizeError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
CALIBRATION_FILE = "calibration.jsonl"
# auto-round 0.16.1 writes Mixtral's experts under names that neither the source nor vLLM, SGLang or TGI know
# (gate_proj for w1, ...), while extra_config keeps the model's. To be lifted when both agree.
UNSUPPORTED_MODEL_TYPES = {"mixtral": "auto-round renames its experts in the files it writes"}


@dataclass(frozen=True)
class SourceModel:
    """A sound float checkpoint.

    block_linears: name -> (out_features, in_features) of every linear layer inside the decoder blocks
    head: the same for the output head, empty where it shares the embedding's weight
    """

    path: Path
    checkpoint: Checkpoint
    block_linears: Mapping[str, tuple[int, int]]
    head: Mapping[str, tuple[int, int]]
    num_blocks: int
    hidden_size: int
    max_positions: int

    @cached_property
    def tensor_bytes(self) -> Mapping[str, int]:
        """Size of every tensor in the files."""
        tensors = self.checkpoint.tensors
        return {name: prod(tensor.shape) * BYTES_OF_DTYPE[tensor.dtype] for name, tensor in tensors.items()}

    @property
    def calibration_file(self) -> Path | None:
        """Calibration text that the model brings along."""
        path = self.path / CALIBRATION_FILE
        return path if path.is_file() else None


@dataclass(frozen=True)
class Architecture:
    """What a model's config says of its layers."""

    config: Any
    block_linears: Mapping[str, tuple[int, int]]
    head: Mapping[str, tuple[int, int]]


def open_source(path: Path, *, trust_remote_code: bool = False) -> SourceModel:
    """Read a model directory without loading its weights. Raises QuantizeError or CheckpointError."""
    if not path.is_dir():
        raise QuantizeError(f"{path}: no such model directory")
    architecture = check_architecture(path, trust_remote_code=trust_remote_code)
    checkpoint = open_checkpoint(path)
    _check_weights_are_there(path, checkpoint, [*architecture.block_linears, *architecture.head])
    return SourceModel(
        path=path,
        checkpoint=checkpoint,
        block_linears=architecture.block_linears,
        head=architecture.head,
        num_blocks=architecture.config.num_hidden_layers,
        hidden_size=architecture.config.hidden_size,
        max_positions=getattr(architecture.config, "max_position_embeddings", None) or 2**31,
    )


def check_architecture(path: Path, *, trust_remote_code: bool) -> Architecture:
    """Read all that needs no weights. Raises QuantizeError for a model that cannot be quantized."""
    if not (path / "config.json").is_file():
        raise QuantizeError(f"{path} has no config.json; MODEL is a directory in Hugging Face's layout or a hub id")
    config = _model_config(path, trust_remote_code)
    quantization = getattr(config, "quantization_config", None)
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else type(quantization).__name__
        raise QuantizeError(f"{path} is quantized already ({method}); give the float model it was made from")
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise QuantizeError(f"{path} has no tokenizer ({', '.join(TOKENIZER_FILES)}); copy the model's tokenizer there")
    return Architecture(config, *_linears(config, trust_remote_code))


def _model_config(path: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise QuantizeError(f"{path}: unsupported architecture: {reason}") from error


def _linears(config: Any, trust_remote_code: bool) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """Build the model without weights and return its linear layers inside the blocks, and its untied output head."""
    import torch
    from transformers import AutoModelForCausalLM

    _check_model_type(config, trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    if getattr(model, "_is_stateful", False):
        raise QuantizeError(
            f"unsupported architecture: {config.model_type} keeps a recurrent state instead of attention"
        )
    linears = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    block_prefixes = tuple(f"{name}." for name, module in model.named_modules() if _is_block_list(module, config))
    block_linears = {name: shape for name, shape in linears.items() if name.startswith(block_prefixes)}
    if not block_linears:
        raise QuantizeError(f"unsupported architecture: {config.model_type} has no linear layers in its blocks")
    tied = getattr(config, "tie_word_embeddings", False)
    head = {} if tied else {name: shape for name, shape in linears.items() if name not in block_linears}
    return block_linears, head


def _check_model_type(config: Any, trust_remote_code: bool) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.model_type
    if kind in UNSUPPORTED_MODEL_TYPES:
        raise QuantizeError(f"unsupported architecture: {kind}: {UNSUPPORTED_MODEL_TYPES[kind]}")
    brings_own_code = trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not brings_own_code:
        raise QuantizeError(f"unsupported architecture: {kind} is no text generation model that transformers knows")


def _is_block_list(module: Any, config: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.ModuleList) and len(module) == config.num_hidden_layers


def _check_weights_are_there(path: Path, checkpoint: Checkpoint, linears: list[str]) -> None:
    missing = [name for name in linears if f"{name}.weight" not in checkpoint.file_of]
    if missing:
        raise QuantizeError(
            f"{path}: the files lack {missing[0]}.weight ({len(missing)} layers in all); "
            "the download is incomplete, or the architecture stores its layers under other names"
        )
