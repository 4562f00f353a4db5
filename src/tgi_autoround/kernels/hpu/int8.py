"""5 to 8 bits on Gaudi, which has no op for them: a byte a code, dequantized by plain torch ops in every call."""

from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.hpu.kernel import HpuKernel
from tgi_autoround.kernels.hpu.packing import fill_up, padded_rows


class HpuInt8Kernel(HpuKernel):
    """Codes are held around zero, where bfloat16 has every difference of a code and a zero point exactly."""

    name = "hpu-int8"

    def reason_against(self, spec: LayerSpec, dtype: torch.dtype) -> str | None:
        """Takes 5 to 8 bits."""
        if spec.scheme.bits <= 4:
            return f"codes of {spec.scheme.bits} bits take half the memory in hpu-uint4"
        return None

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """A byte a code, the scales, and as much for zero points where they are not all in the middle."""
        per_group = dtype.itemsize if spec.scheme.sym else 2 * dtype.itemsize
        return (padded_rows(spec) + per_group * spec.num_groups) * spec.out_features

    def pack(self, weight: NormalForm, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """qweight: int8 [K, N], K filled up to whole groups; scales, and qzeros of asymmetric layers: dtype [G, N].

        Both codes and zero points are lowered by the middle of their range.
        """
        spec = weight.spec
        middle = 1 << (spec.scheme.bits - 1)
        codes = (weight.codes.cpu() - middle).view(torch.int8)  # uint8 wraps to the bits of the negative numbers
        buffers = {"qweight": fill_up(codes, padded_rows(spec), spec.out_features), "scales": weight.scales.to(dtype)}
        if not spec.scheme.sym:
            buffers["qzeros"] = (weight.zero_points - middle).to(dtype)
        return buffers

    def weight(self, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Return the dequantized weight: [in_features, out_features] in the dtype of the scales."""
        scales = buffers["scales"]
        steps = buffers["qweight"].to(scales.dtype).view(spec.num_groups, spec.group_size, spec.out_features)
        if "qzeros" in buffers:
            steps = steps - buffers["qzeros"][:, None]
        return (steps * scales[:, None]).flatten(0, 1)[: spec.in_features]
