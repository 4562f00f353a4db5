"""What stands in for transformers' AutoModelForCausalLM where tgi-gaudi 2.0 loads an AutoRound checkpoint.

transformers 4.43 raises on the quantization method, so the model is built by `modeling` from a config without it. The
classes are optimum-habana's, which `adapt_transformers_to_gaudi` has put in the place of transformers' own before.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.kernels import Kernel
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.linear import QLinear
from tgi_autoround.modeling import build_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

KERNELS: tuple[Kernel, ...] = (HpuUint4Kernel(), HpuInt8Kernel(), DequantizedKernel())


class GaudiAutoModel:
    """`from_pretrained` with the arguments that CausalLM gives (models/causal_lm.py, 2.0.0 to 2.0.5)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def from_pretrained(
        self,
        model_id: str,
        *,
        revision: str | None,
        torch_dtype: torch.dtype,
        trust_remote_code: bool,
        rope_scaling: dict[str, Any] | None = None,
    ) -> "PreTrainedModel":
        """Return the model on the card. Raises as `open_checkpoint` and `build_model` do.

        `rope_scaling`: what ROPE_SCALING asks for. Upstream gives None where that is not set, and loses the scaling
        that config.json has (causal_lm.py:640, 2.0.5); here config.json's stands.
        """
        device = torch.device("hpu")
        model = build_model(
            open_checkpoint(self._directory),
            device=device,
            dtype=torch_dtype,
            kernels=KERNELS,
            trust_remote_code=trust_remote_code,
            config=_config(model_id, revision, rope_scaling, trust_remote_code=trust_remote_code),
        )
        _carry_dtype_and_device(model, device, torch_dtype)
        return model


def _config(
    model_id: str, revision: str | None, rope_scaling: dict[str, Any] | None, *, trust_remote_code: bool
) -> "PretrainedConfig":
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_id, revision=revision, trust_remote_code=trust_remote_code)
    del config.quantization_config
    if rope_scaling is not None:
        config.rope_scaling = rope_scaling
    # Above 1, Llama's code slices floating-point weights to compute the same in parts (modeling_llama.py:508, 1.13.2).
    config.pretraining_tp = 1
    return config


def _carry_dtype_and_device(model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """optimum-habana's attention makes its KV cache like the weight of k_proj (modeling_mistral.py:328, 1.13.2).

    Llama's asks for `qweight` and `scales` where there are such (modeling_llama.py:432, 1.13.2), which are our buffers.
    """
    for module in model.modules():
        if isinstance(module, QLinear) and not hasattr(module, "weight"):
            module.weight = torch.empty(0, dtype=dtype, device=device)
