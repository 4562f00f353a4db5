"""Dequantize a layer once, at load, and multiply as any linear does: for machines without a fused kernel."""

from collections.abc import Mapping

import torch
from torch.nn import functional

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.checkpoint.sharding import in_column_parts


class DequantizedKernel:
    """A plain linear in the compute dtype; it needs the memory of the unquantized layer."""

    name = "dequantized"
    exact = True

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes every layer, on every device."""
        return None

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """The unquantized layer's."""
        return spec.in_features * spec.out_features * dtype.itemsize

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """weight [N, K] and bias [N], in the compute dtype."""
        spec = weight.spec
        dequantized = torch.empty(spec.out_features, spec.in_features, device=weight.codes.device, dtype=dtype)
        for part, columns in in_column_parts(weight):
            dequantized[part] = columns.dequantize()
        buffers = {"weight": dequantized.to(device)}
        if weight.bias is not None:
            buffers["bias"] = weight.bias.to(device, dtype)
        return buffers

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in the compute dtype."""
        return functional.linear(x, buffers["weight"], buffers.get("bias"))
