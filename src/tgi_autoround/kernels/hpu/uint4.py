"""2, 3 and 4 bits on Gaudi: `torch.ops.hpu.convert_from_uint4` makes the weight, a matmul follows.

The op is called with four arguments, which is all that the software in TGI's image (1.21) takes. It computes
`(code - zero_point) * scale` with true zero points; groups are equal runs of rows.
"""

from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.hpu.kernel import HpuKernel
from tgi_autoround.kernels.hpu.packing import fill_up, pack_nibbles, padded_columns, padded_rows
from tgi_autoround.kernels.hpu.runtime import why_op_is_missing

HIGHEST_NIBBLE = 15
_OUTPUT_DTYPES = (torch.bfloat16, torch.float32)


class HpuUint4Kernel(HpuKernel):
    """Codes of 2 and 3 bits are held in nibbles too, unchanged."""

    name = "hpu-uint4"

    def reason_against(self, spec: LayerSpec, dtype: torch.dtype) -> str | None:
        """Takes up to 4 bits, in bfloat16 and float32."""
        if spec.scheme.bits > 4:
            return f"codes of {spec.scheme.bits} bits do not fit into nibbles"
        if dtype not in _OUTPUT_DTYPES:
            return f"its op makes weights of bfloat16 and float32, not of {dtype}; use --dtype bfloat16"
        return why_op_is_missing()

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Half a byte a code and zero point, and the scales; a zero point of 16 (see `pack`) is not foreseen."""
        columns = padded_columns(spec)
        return (padded_rows(spec) + spec.num_groups) * columns // 2 + spec.num_groups * columns * dtype.itemsize

    def pack(self, weight: NormalForm, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """qweight: int32 [K, N/8]; qzeros: int32 [G, N/8]; scales: dtype [G, N].

        K and N are filled up to whole groups and words. qzeros is of dtype [G, N] where a zero point is 16, which
        GPTQ's packing can hold and AutoRound does not write.
        """
        columns = padded_columns(weight.spec)
        zero_points = fill_up(weight.zero_points.cpu(), weight.spec.num_groups, columns)
        fits_nibbles = int(zero_points.max()) <= HIGHEST_NIBBLE
        return {
            "qweight": pack_nibbles(fill_up(weight.codes.cpu(), padded_rows(weight.spec), columns)),
            "qzeros": pack_nibbles(zero_points.to(torch.uint8)) if fits_nibbles else zero_points.to(dtype),
            "scales": fill_up(weight.scales.cpu(), weight.spec.num_groups, columns).to(dtype),
        }

    def weight(self, buffers: Mapping[str, torch.Tensor], spec: LayerSpec) -> torch.Tensor:
        """Return the dequantized weight: [in_features, out_features] in the dtype of the scales."""
        scales = buffers["scales"]
        filled_up: torch.Tensor = torch.ops.hpu.convert_from_uint4(
            buffers["qweight"], scales, buffers["qzeros"], scales.dtype
        )
        return filled_up[: spec.in_features, : spec.out_features]
