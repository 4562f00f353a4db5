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
    input_order: int64 [in_features], or None where it is 0, 1, 2 ...: row k of codes multiplies input feature
        input_order[k]. GPTQ's act-order (`desc_act`) scatters groups over the inputs; here rows are sorted by group.
    """

    spec: LayerSpec
    codes: torch.Tensor
    zero_points: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None = None
    input_order: torch.Tensor | None = None

    def dequantize(self) -> torch.Tensor:
        """Return the weight as torch.nn.Linear holds it: float32 [out_features, in_features]."""
        rows = self.codes.float()
        size, whole = self.spec.group_size, self.spec.in_features // self.spec.group_size
        groups = rows[: whole * size].view(whole, size, self.spec.out_features)
        groups.sub_(self.zero_points[:whole, None]).mul_(self.scales[:whole, None])
        rows[whole * size :].sub_(self.zero_points[whole:]).mul_(self.scales[whole:])
        if self.input_order is not None:
            rows = torch.empty_like(rows).index_copy_(0, self.input_order, rows)
        return rows.t().contiguous()


def unpack(
    spec: LayerSpec,
    qweight: torch.Tensor,
    qzeros: torch.Tensor,
    scales: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    g_idx: torch.Tensor | None = None,
) -> NormalForm:
    """Return the normal form of a layer's tensors as they lie in the file (shapes in `packing.py`).

    g_idx: int32 [in_features], the group of each input feature, where the file holds one.
    Raises CheckpointError where values contradict the spec.
    """
    bits = spec.scheme.bits
    if spec.scheme.packing is Packing.AWQ:
        codes, zeros = packing.unpack_awq(qweight), packing.unpack_awq(qzeros)
    else:
        codes = packing.unpack_stream(qweight, bits)
        zeros = packing.unpack_stream(qzeros.t().contiguous(), bits).t()
    zero_points = zeros.to(torch.int16).contiguous()
    if spec.scheme.packing is Packing.GPTQ:
        zero_points += 1
    order = _input_order(spec, g_idx) if g_idx is not None else None
    if order is not None:
        codes = codes[order]
    _check_finite(spec, "scales", scales)
    if bias is not None:
        _check_finite(spec, "bias", bias)
    _check_symmetry(spec, zero_points)
    return NormalForm(spec, codes, zero_points, scales, bias, order)


def _input_order(spec: LayerSpec, g_idx: torch.Tensor) -> torch.Tensor | None:
    consecutive = (torch.arange(spec.in_features, device=g_idx.device) // spec.group_size).to(g_idx.dtype)
    if torch.equal(g_idx, consecutive):
        return None
    order = torch.argsort(g_idx, stable=True)
    if not torch.equal(g_idx[order], consecutive):
        raise CheckpointError(
            f"layer {spec.name}: {spec}: g_idx does not put {spec.group_size} input features into each of "
            f"{spec.num_groups} groups; the file is broken, quantize the model again"
        )
    return order


def _check_finite(spec: LayerSpec, part: str, values: torch.Tensor) -> None:
    if not torch.isfinite(values).all():
        raise CheckpointError(f"layer {spec.name}: {spec}: {part} holds NaN or infinity; quantize the model again")


def _check_symmetry(spec: LayerSpec, zero_points: torch.Tensor) -> None:
    middle = 1 << (spec.scheme.bits - 1)
    if spec.scheme.sym and not (zero_points == middle).all():
        raise CheckpointError(
            f"layer {spec.name}: the config says sym, whose zero points are all {middle}, but the file holds "
            f"{int(zero_points.min())}..{int(zero_points.max())}; the packing or the config is wrong"
        )
