"""The oracle: dequantize to float32 on every call. Slow; every other kernel is tested against it."""

from collections.abc import Mapping

import torch
from torch.nn import functional

from tgi_autoround.checkpoint import LayerSpec, NormalForm


class ReferenceKernel:
    """float32 dequantize + matmul, from the normal form itself."""

    name = "reference"
    exact = True

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes every layer, on every device."""
        return None

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """One byte a code, two for each scale and each zero point."""
        return (spec.in_features + 4 * spec.num_groups) * spec.out_features

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Keep the normal form: codes uint8 [K, N], zero_points int16 [G, N], scales float16 [G, N], bias [N]."""
        buffers = {"codes": weight.codes, "zero_points": weight.zero_points, "scales": weight.scales}
        if weight.bias is not None:
            buffers["bias"] = weight.bias
        return {name: tensor.to(device) for name, tensor in buffers.items()}

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in float32 and return x's dtype."""
        bias = buffers.get("bias")
        weight = NormalForm(spec, buffers["codes"], buffers["zero_points"], buffers["scales"], bias)
        y = functional.linear(x.float(), weight.dequantize(), bias.float() if bias is not None else None)
        return y.to(x.dtype)
