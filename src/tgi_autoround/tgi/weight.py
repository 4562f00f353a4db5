"""What TGI's layers make their linears from: this shard's part of one quantized layer, or of several side by side."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from text_generation_server.utils.weights import Weight
from torch import nn

from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.composite import side_by_side
from tgi_autoround.linear import QLinear
from tgi_autoround.tgi.kernels import KERNELS
from tgi_autoround.tgi.log import tell_once

Part = NormalForm | nn.Linear


@dataclass
class AutoRoundWeight(Weight):  # type: ignore[misc]
    """Layers that read the same input; one that stays in floating point is a linear without bias."""

    parts: list[Part]
    device: torch.device
    dtype: torch.dtype

    def get_linear(self, bias: torch.Tensor | None) -> nn.Module:
        """Return the module that computes all parts' outputs: [..., in_features] -> [..., sum of out_features].

        bias: [sum of out_features], what TGI's model code read for all parts, in its order. Where it reads none, the
        layers' own stand, which are there only where this shard has to add them.
        Raises UnsupportedError where no kernel takes a part.
        """
        parts = self.parts if bias is None else _with_bias(self.parts, bias)
        linear = side_by_side(parts, self.device, self.dtype, kernels=KERNELS)
        _tell_kernels(linear, self.device, self.dtype)
        if not hasattr(linear, "weight"):
            linear.weight = _device_carrier(self.device)
        return linear


def _tell_kernels(linear: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Say which kernel runs layers of a kind, and why none that is preferred to it."""
    for layer in linear.modules():
        if isinstance(layer, QLinear):
            scheme = layer.spec.scheme
            refusals = [
                f"{kernel.name}: {kernel.supports(layer.spec, device, dtype)}"
                for kernel in KERNELS[: KERNELS.index(layer.kernel)]
            ]
            kind = f"{scheme.bits} bits, {'sym' if scheme.sym else 'asym'}, groups of {scheme.group_size}"
            why = f" ({'; '.join(refusals)})" if refusals else ""
            tell_once(f"auto-round: {kind}: kernel {layer.kernel.name}{why}")


def plain_linear(weight: torch.Tensor) -> nn.Linear:
    """Return the linear of a weight [out_features, in_features] that stays in floating point."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


def _with_bias(parts: Iterable[Part], bias: torch.Tensor) -> list[Part]:
    biased: list[Part] = []
    start = 0
    for part in parts:
        if isinstance(part, nn.Linear):
            own = bias[start : start + part.out_features]
            part.bias = nn.Parameter(own, requires_grad=False)
            biased.append(part)
            start += part.out_features
        else:
            own = bias[start : start + part.spec.out_features]
            biased.append(replace(part, spec=replace(part.spec, has_bias=True), bias=own))
            start += part.spec.out_features
    return biased


def _device_carrier(device: torch.device) -> torch.Tensor:
    """LoRA asks a linear's weight for its device (adapters/lora.py:232, 3.3.7).

    Integers, because Granite divides the head's weight by a constant and divides the logits where that raises
    (flash_llama_modeling.py:658, 3.3.7), as it must with packed weights.
    """
    return torch.empty(0, dtype=torch.int8, device=device)
