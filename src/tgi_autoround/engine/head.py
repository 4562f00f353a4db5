"""The output projection rounded to few bits while the model is loaded: a large part of what a small batch reads."""

import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme
from tgi_autoround.kernels import select
from tgi_autoround.linear import QLinear

logger = logging.getLogger(__name__)

AS_STORED = 16
DEFAULT_BITS = 8
GROUP_SIZE_OF_BITS = {4: 32, 8: 128}
_ROWS_AT_ONCE = 4096
_FP16_STEP = 2.0**-24
"""Between fp16's numbers below its smallest normal one."""


def round_head(model: Any, bits: int | None, *, dtype: torch.dtype, exact: bool) -> None:
    """Replace the model's floating-point head by one of 4 or 8 bits in groups; AS_STORED and quantized heads stay.

    None is 8 bits where the kernel rounds activations to as many anyway, which costs nothing that can be measured
    (docs/performance.md), and AS_STORED elsewhere. Raises UnsupportedError where no kernel takes it.
    """
    head = model.get_output_embeddings()
    if bits == AS_STORED or not isinstance(head, nn.Linear):
        return
    spec = _spec(head, bits or DEFAULT_BITS)
    kernel = select(spec, model.device, dtype, exact=exact)
    if bits is None and kernel.exact:
        return
    model.set_output_embeddings(QLinear(round_to_nearest(head, spec.scheme.bits), kernel, model.device, dtype))
    logger.info("the output projection is rounded to %d bits and runs on %s", spec.scheme.bits, kernel.name)


def round_to_nearest(linear: nn.Linear, bits: int) -> NormalForm:
    """Return the weight rounded to `bits`, in groups of one size, which is smaller where in_features is odd to it."""
    spec = _spec(linear, bits)
    codes, zero_points, scales = (torch.cat(parts, dim=1) for parts in zip(*_rounded(linear.weight, spec), strict=True))
    return NormalForm(spec, codes, zero_points, scales, linear.bias)


def _spec(linear: nn.Linear, bits: int) -> LayerSpec:
    group_size = math.gcd(GROUP_SIZE_OF_BITS[bits], linear.in_features)
    scheme = QuantScheme(bits, group_size, bits == 8, Packing.GPTQ)
    return LayerSpec("lm_head", scheme, linear.in_features, linear.out_features, linear.bias is not None)


def _rounded(weight: torch.Tensor, spec: LayerSpec) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield codes, zero points and scales of some output features at a time, so that copies of one part stay small."""
    most = 2**spec.scheme.bits - 1
    for rows in torch.split(weight.detach(), _ROWS_AT_ONCE):
        groups = rows.float().t().reshape(spec.num_groups, spec.group_size, -1)
        if spec.scheme.sym:
            scales, zero_points = _symmetric(groups, most)
        else:
            scales, zero_points = _asymmetric(groups, most)
        codes = (groups / scales[:, None]).round_().add_(zero_points[:, None]).clamp_(0, most)
        yield codes.to(torch.uint8).flatten(0, 1), zero_points.to(torch.int16), scales.half()


def _symmetric(groups: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    scales = _as_stored(groups.abs().amax(1) / (most // 2))
    return scales, torch.full_like(scales, most // 2 + 1)


def _asymmetric(groups: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = groups.amin(1).clamp_(max=0), groups.amax(1).clamp_(min=0)
    scales = _as_stored((high - low) / most)
    return scales, (-low / scales).round_().clamp_(0, most)


def _as_stored(scales: torch.Tensor) -> torch.Tensor:
    """As fp16 holds them: above 0, and rounded up where its steps are coarse, so that codes reach every weight."""
    few_bits = (scales / _FP16_STEP).ceil_().clamp_(min=1) * _FP16_STEP
    return torch.where(scales < torch.finfo(torch.float16).tiny, few_bits, scales).half().float()
