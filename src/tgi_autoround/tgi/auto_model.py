"""What stands in for transformers' AutoModelForCausalLM where TGI runs an architecture on transformers' code."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import ConfigError, UnsupportedError
from tgi_autoround.modeling import build_model
from tgi_autoround.tgi.kernels import KERNELS
from tgi_autoround.tgi.model import UNCAPTURABLE_TYPES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AutoRoundAutoModel:
    """`from_pretrained` with the arguments that TransformersFlashCausalLM gives (3.3.7), for AutoRound checkpoints."""

    def __init__(self, directory_of: Callable[[str, str | None], Path]) -> None:
        self._directory_of = directory_of

    def from_pretrained(
        self,
        model_id: str,
        *,
        revision: str | None,
        torch_dtype: torch.dtype,
        trust_remote_code: bool,
        attn_implementation: str,
        device_map: torch.device | None,
        tp_plan: str | None,
        **_: object,
    ) -> "PreTrainedModel":
        """Return the model on the device of `device_map`, its attention TGI's.

        Raises UnsupportedError for shards, ConfigError where CUDA graphs were asked for that the model cannot have.
        """
        if device_map is None or tp_plan is not None:
            raise UnsupportedError(
                "auto-round: TGI runs this architecture on transformers' code, which is served on one GPU; "
                "leave --num-shard and --sharded away"
            )
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(model_id, revision=revision, trust_remote_code=trust_remote_code)
        _check_cuda_graphs(config.model_type)
        model = build_model(
            open_checkpoint(self._directory_of(model_id, revision)),
            device=device_map,
            dtype=torch_dtype,
            kernels=KERNELS,
            trust_remote_code=trust_remote_code,
            config=config,
        )
        model.config._attn_implementation = attn_implementation
        if config.model_type == "qwen3_moe":
            for layer in model.model.layers:
                _hand_on_arguments(layer)
        return model


def _check_cuda_graphs(model_type: str) -> None:
    if model_type in UNCAPTURABLE_TYPES and os.environ.get("CUDA_GRAPHS", "0") != "0":
        raise ConfigError(f"auto-round: CUDA graphs cannot hold a model of type {model_type}; give --cuda-graphs 0")


def _hand_on_arguments(layer: nn.Module) -> None:
    """Give a decoder layer's arguments to its attention too, where TGI's cache is among them.

    transformers 4.51.0, modeling_qwen3_moe.py, Qwen3MoeDecoderLayer.forward leaves them out; later releases do not, so
    this may go with TGI's 4.51.
    """
    handed: dict[str, Any] = {}

    def keep(_: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        handed.update(kwargs)

    def add(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**handed, **kwargs}

    def forget(*_: object) -> None:
        """TGI frees its first cache after warming up."""
        handed.clear()

    layer.register_forward_pre_hook(keep, with_kwargs=True)
    layer.register_forward_hook(forget, always_call=True)
    layer.get_submodule("self_attn").register_forward_pre_hook(add, with_kwargs=True)
