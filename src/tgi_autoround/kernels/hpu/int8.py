"""5 to 8 bits on Gaudi, which has no op for them: a byte a code, dequantized by plain torch ops in every call."""

from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.hpu.check import check_once
from tgi_autoround.kernels.hpu.matmul import multiply
from tgi_autoround.kernels.hpu.packing import fill_up, padded_rows


class HpuInt8Kernel:
    """Codes are held around zero, where bfloat16 has every difference of a code and a zero point exactly."""

    name = "hpu-int8"
    exact = True

    def __init__(self, device_type: str = "hpu") -> None:
        self._device_type = device_type

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes layers of 5 to 8 bits, of every shape and group size."""
        if device.type != self._device_type:
            return f"it runs on {self._device_type}, not on {device.type}"
        if spec.scheme.bits <= 4:
            return f"codes of {spec.scheme.bits} bits take half the memory in hpu-uint4"
        return None

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """A byte a code, the scales, and as much for zero points where they are not all in the middle."""
        per_group = dtype.itemsize if spec.scheme.sym else 2 * dtype.itemsize
        return (padded_rows(spec) + per_group * spec.num_groups) * spec.out_features

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """qweight: int8 [K, N], K filled up to whole groups; scales, and qzeros of asymmetric layers: dtype [G, N].

        Both codes and zero points are lowered by the middle of their range. bias: dtype [N], where there is one.
        Raises UnsupportedError where the device computes another weight.
        """
        spec = weight.spec
        middle = 1 << (spec.scheme.bits - 1)
        codes = (weight.codes.cpu() - middle).view(torch.int8)  # uint8 wraps to the bits of the negative numbers
        buffers = {"qweight": fill_up(codes, padded_rows(spec), spec.out_features), "scales": weight.scales.to(dtype)}
        if not spec.scheme.sym:
            buffers["qzeros"] = (weight.zero_points - middle).to(dtype)
        if weight.bias is not None:
            buffers["bias"] = weight.bias.to(dtype)
        on_device = {name: tensor.to(device) for name, tensor in buffers.items()}
        check_once(self.name, self.weight, on_device, weight)
        return on_device

    def forward(self, x: torch.Tensor, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Multiply in the dtype of the scales and return x's dtype."""
        return multiply(x, self.weight(buffers, spec), buffers.get("bias"))

    def weight(self, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Return the dequantized weight: [in_features, out_features] in the dtype of the scales."""
        scales = buffers["scales"]
        steps = buffers["qweight"].to(scales.dtype).view(spec.num_groups, spec.group_size, spec.out_features)
        if "qzeros" in buffers:
            steps = steps - buffers["qzeros"][:, None]
        return (steps * scales[:, None]).flatten(0, 1)[: spec.in_features]
