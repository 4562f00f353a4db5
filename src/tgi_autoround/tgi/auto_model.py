"""What stands in for transformers' AutoModelForCausalLM where TGI runs an architecture on transformers' code."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.modeling import build_model
from tgi_autoround.tgi.kernels import CUDA_KERNELS

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
        """Return the model on the device of `device_map`, its attention TGI's. Raises UnsupportedError for shards."""
        if device_map is None or tp_plan is not None:
            raise UnsupportedError(
                "auto-round: TGI runs this architecture on transformers' code, which is served on one GPU; "
                "leave --num-shard and --sharded away"
            )
        model = build_model(
            open_checkpoint(self._directory_of(model_id, revision)),
            device=device_map,
            dtype=torch_dtype,
            kernels=CUDA_KERNELS,
            trust_remote_code=trust_remote_code,
        )
        model.config._attn_implementation = attn_implementation
        return model
