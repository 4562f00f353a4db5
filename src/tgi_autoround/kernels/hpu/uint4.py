"""2, 3 and 4 bits on Gaudi: `torch.ops.hpu.convert_from_uint4` makes the weight, a matmul follows.

The op is called with four arguments, which is all that the software in TGI's image (1.21) takes. It computes
`(code - zero_point) * scale` with true zero points; groups are equal runs of rows.
"""

from collections.abc import Mapping

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.kernels.hpu.check import check_once
from tgi_autoround.kernels.hpu.matmul import multiply
from tgi_autoround.kernels.hpu.packing import fill_up, pack_nibbles, padded_columns, padded_rows
from tgi_autoround.kernels.hpu.runtime import why_op_is_missing

HIGHEST_NIBBLE = 15
_OUTPUT_DTYPES = (torch.bfloat16, torch.float32)


class HpuUint4Kernel:
    """Codes of 2 and 3 bits are held in nibbles too, unchanged."""

    name = "hpu-uint4"
    exact = True

    def __init__(self, device_type: str = "hpu") -> None:
        self._device_type = device_type

    def supports(self, spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> str | None:
        """Takes layers of up to 4 bits, of every shape and group size, in bfloat16 and float32."""
        if device.type != self._device_type:
            return f"it runs on {self._device_type}, not on {device.type}"
        if spec.scheme.bits > 4:
            return f"codes of {spec.scheme.bits} bits do not fit into nibbles"
        if dtype not in _OUTPUT_DTYPES:
            return f"its op makes weights of bfloat16 and float32, not of {dtype}; use --dtype bfloat16"
        return why_op_is_missing()

    def weight_bytes(self, spec: LayerSpec, dtype: torch.dtype) -> int:
        """Half a byte a code and zero point, and the scales; a zero point of 16 (see `prepare`) is not foreseen."""
        columns = padded_columns(spec)
        return (padded_rows(spec) + spec.num_groups) * columns // 2 + spec.num_groups * columns * dtype.itemsize

    def prepare(self, weight: NormalForm, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """qweight: int32 [K, N/8]; qzeros: int32 [G, N/8]; scales: dtype [G, N]; bias: dtype [N], where there is one.

        K and N are filled up to whole groups and words. qzeros is of dtype [G, N] where a zero point is 16, which
        GPTQ's packing can hold and AutoRound does not write.
        Raises UnsupportedError where the op computes another weight.
        """
        columns = padded_columns(weight.spec)
        zero_points = fill_up(weight.zero_points.cpu(), weight.spec.num_groups, columns)
        fits_nibbles = int(zero_points.max()) <= HIGHEST_NIBBLE
        buffers = {
            "qweight": pack_nibbles(fill_up(weight.codes.cpu(), padded_rows(weight.spec), columns)),
            "qzeros": pack_nibbles(zero_points.to(torch.uint8)) if fits_nibbles else zero_points.to(dtype),
            "scales": fill_up(weight.scales.cpu(), weight.spec.num_groups, columns).to(dtype),
        }
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
        filled_up: torch.Tensor = torch.ops.hpu.convert_from_uint4(
            buffers["qweight"], scales, buffers["qzeros"], scales.dtype
        )
        return filled_up[: spec.in_features, : spec.out_features]
