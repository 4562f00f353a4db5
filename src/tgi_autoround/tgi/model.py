"""Whether TGI is to serve a model by this package, and from which directory: decided once, before TGI reads it."""

import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from tgi_autoround.errors import CheckpointError, ConfigError, UnsupportedError
from tgi_autoround.tgi.environment import FORCE_VARIABLE, QUANTIZE_CHOICE, is_auto_round_config

ADDED_BY_LAUNCHER = frozenset({"gptq", "awq"})
"""TGI's launcher adds `--quantize` with these by itself, from config.json."""
FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py")

UNSERVED_TYPES: Mapping[str, str] = {
    "bloom": "TGI reads its packed q/k/v by names of its own",
    "deepseek_v3": "TGI's experts without fused kernels cannot route its tokens (layers/moe/__init__.py:81)",
    "dbrx": "TGI slices its experts out of one floating-point tensor",
    "gpt2": "TGI transposes its weights when it reads them",
    "gpt_bigcode": "TGI transposes its weights when it reads them",
    "gpt_neox": "TGI reorders its packed q/k/v in floating point",
    "mpt": "TGI slices its weights in floating point",
    "t5": "TGI reads part of it in floating point",
}
"""Architectures whose TGI code would read packed integers wrong, or not at all (3.3.7)."""

UNSERVED_TYPES_ON_GAUDI: Mapping[str, str] = {
    **UNSERVED_TYPES,
    "deepseek_v2": "TGI's code for Gaudi reads a floating-point kv_b_proj (flash_deepseek_v2_modeling.py:262)",
    "llama4": "TGI's code for Gaudi reads its fused experts in floating point (flash_llama4_modeling.py:118)",
}
"""The same for TGI's tree for Gaudi, backends/gaudi/server (3.3.7)."""

UNCAPTURABLE_TYPES = frozenset({"qwen3_moe"})
"""Architectures on transformers' code whose experts are chosen by data on the host, which no CUDA graph can hold."""


def is_chosen(quantize: str | None, config: Mapping[str, Any]) -> bool:
    """Return whether this package serves the model: asked for, or told by config.json.

    Raises ConfigError where what was asked for contradicts the files.
    """
    asked = quantize == QUANTIZE_CHOICE or os.environ.get(FORCE_VARIABLE) == "1"
    if not asked and not is_auto_round_config(config):
        return False
    if config.get("quantization_config") is None:
        raise ConfigError(
            "--quantize auto-round: no config.json with a quantization_config, the model is not quantized; make it so "
            "with `text-generation-server quantize MODEL OUT --method autoround`, or leave --quantize away"
        )
    if quantize not in {None, QUANTIZE_CHOICE, *ADDED_BY_LAUNCHER}:
        raise ConfigError(
            f"--quantize {quantize}: the model is quantized by AutoRound already; leave --quantize away, "
            "or give auto-round"
        )
    return True


def check_served(config: Mapping[str, Any], unserved_types: Mapping[str, str] = UNSERVED_TYPES) -> None:
    """Raise UnsupportedError where TGI's own code for the architecture cannot take packed weights."""
    model_type = config.get("model_type")
    reason = unserved_types.get(str(model_type))
    if model_type == "phi" and config.get("num_key_value_heads") not in (None, config.get("num_attention_heads")):
        reason = "TGI's code for its grouped-query attention reads a floating-point weight"
    if reason is not None:
        raise UnsupportedError(
            f"model_type {model_type}: not served quantized by TGI, {reason}; `tgi-autoround serve` may take the model"
        )


def check_head(config: Mapping[str, Any], quantized_layers: Container[str]) -> None:
    """Raise CheckpointError where TGI would serve the embeddings in place of a head that the files hold."""
    if config.get("tie_word_embeddings") and "lm_head" in quantized_layers:
        raise CheckpointError(
            "lm_head: the files hold a quantized one, but config.json ties it to the embeddings, which TGI would serve "
            "in its place; set tie_word_embeddings to false there"
        )


def directory_of(model_id: str, revision: str | None) -> Path:
    """Return the directory of a model: itself, or its snapshot in the hub's cache, missing small files fetched."""
    if Path(model_id).exists():
        return Path(model_id)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model_id, revision=revision, allow_patterns=list(FILES), ignore_patterns=["*/*"]))


def read_config(model_id: str, revision: str | None) -> dict[str, Any]:
    """Return config.json's object, fetched where the model is on the hub; an empty one where there is none.

    Raises CheckpointError for a name that is neither a directory nor on the hub, or is out of reach.
    """
    from tgi_autoround.checkpoint.json_files import read_object

    path = Path(model_id) / "config.json"
    if not Path(model_id).exists():
        from huggingface_hub import hf_hub_download, utils  # errors: 0.24 has them in utils only

        try:
            path = Path(hf_hub_download(model_id, "config.json", revision=revision))
        except (utils.LocalEntryNotFoundError, utils.HFValidationError) as error:  # type: ignore[attr-defined]
            raise CheckpointError(
                f"{model_id}: no such directory, and config.json cannot be had from the hub or its cache: {error}"
            ) from error
        except utils.EntryNotFoundError:  # type: ignore[attr-defined]
            return {}
    return read_object(path) if path.exists() else {}
