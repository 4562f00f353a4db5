"""The normal form that every packing is read into and every kernel is made from."""

from dataclasses import dataclass

import torch

from tgi_autoround.checkpoint import packing
from tgi_autoround.checkpoint.spec import LayerSpec, Packing
from tgi_autoround.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class NormalForm:
    """A quantized weight: `weight[k, n] = scales[g, n] * (codes[k, n] - zero_points[g, n])` with `g = k // group_size`.

    codes: uint8 [in_features, out_features]
    zero_points: int16 [num_groups, out_features], true values (GPTQ's stored -1 is undone)
    scales: float16 [num_groups, out_features]; symmetric AutoRound scales may be negative
    bias: float16, bfloat16 or float32 [out_features], or None
    """

    spec: LayerSpec
    codes: torch.Tensor
    zero_points: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def dequantize(self) -> torch.Tensor:
        """Return the weight as torch.nn.Linear holds it: float32 [out_features, in_features]."""
        group_of = torch.arange(self.spec.in_features, device=self.codes.device) // self.spec.group_size
        steps = self.codes.float() - self.zero_points.float()[group_of]
        return (steps * self.scales.float()[group_of]).t().contiguous()


def unpack(
    spec: LayerSpec,
    qweight: torch.Tensor,
    qzeros: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
) -> NormalForm:
    """Return the normal form of a layer's tensors as they lie in the file (shapes in `packing.py`)."""
    bits = spec.scheme.bits
    if spec.scheme.packing is Packing.AWQ:
        codes, zeros = packing.unpack_awq(qweight), packing.unpack_awq(qzeros)
    else:
        codes = packing.unpack_stream(qweight, bits)
        zeros = packing.unpack_stream(qzeros.t().contiguous(), bits).t()
    zero_points = zeros.to(torch.int16)
    if spec.scheme.packing is Packing.GPTQ:
        zero_points = zero_points + 1
    weight = NormalForm(spec, codes, zero_points.contiguous(), scales, bias)
    _check_values(weight)
    return weight


def _check_values(weight: NormalForm) -> None:
    spec = weight.spec
    if not torch.isfinite(weight.scales).all():
        raise CheckpointError(f"layer {spec.name}: {spec}: scales hold NaN or infinity; quantize the model again")
    middle = 1 << (spec.scheme.bits - 1)
    if spec.scheme.sym and not (weight.zero_points == middle).all():
        raise CheckpointError(
            f"layer {spec.name}: the config says sym, whose zero points are all {middle}, but the file holds "
            f"{int(weight.zero_points.min())}..{int(weight.zero_points.max())}; the packing or the config is wrong"
        )
