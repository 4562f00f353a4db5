"""Dequantize a layer once, at load, and multiply as any linear does: for machines without a fused kernel."""

from collections.abc import Mapping

import torch
from torch.nn import functional

from tgi_autoround.checkpoint import LayerSpec, NormalForm


class DequantizedKernel:
    """A plain linear in the compute dtype; it needs the memory of the unquantized layer."""

    name = "dequantized"
    exact = True

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes every layer, on every device."""
        return None

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """weight [N, K] and bias [N], in the compute dtype."""
        buffers = {"weight": weight.dequantize()}
        if weight.bias is not None:
            buffers["bias"] = weight.bias
        return {name: tensor.to(device, dtype) for name, tensor in buffers.items()}

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in the compute dtype."""
        return functional.linear(x, buffers["weight"], buffers.get("bias"))
