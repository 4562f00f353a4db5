"""The residual's sum and its RMS norm in one pass."""

import torch
import triton
import triton.language as tl

from tgi_autoround.engine.cuda.ops.ordering import await_previous_kernel, overlap
from tgi_autoround.engine.decoder.weights import Norm

WARPS = 8


def add_rms_norm(x: torch.Tensor | None, residual: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Add x to the residual in place and return its RMS norm; x None adds nothing.

    x, residual, result: [rows, width] in one dtype. Rounds where transformers' norms round: before the weight is
    applied, as Llama's does, or once after it where the weight is float32, as Gemma's does.
    """
    rows, width = residual.shape
    result = torch.empty_like(residual)
    _add_rms_norm[(rows,)](
        x,
        residual,
        norm.weight,
        result,
        width,
        norm.eps,
        BLOCK=triton.next_power_of_2(width),
        num_warps=WARPS,
        **overlap(),
    )
    return result


@triton.jit(do_not_specialize=["epsilon"])
def _add_rms_norm(
    x,
    residual,
    weight,
    result,
    width,
    epsilon,
    BLOCK: tl.constexpr,
    OVERLAPPED: tl.constexpr,
):
    column = tl.arange(0, BLOCK)
    inside = column < width
    at = tl.program_id(0).to(tl.int64) * width + column
    factor = tl.load(weight + column, mask=inside, other=0.0)
    await_previous_kernel(OVERLAPPED)
    total = tl.load(residual + at, mask=inside, other=0.0)
    if x is not None:
        total = (total.to(tl.float32) + tl.load(x + at, mask=inside, other=0.0).to(tl.float32)).to(total.dtype)
        tl.store(residual + at, total, mask=inside)
    mean_square = tl.sum(total.to(tl.float32) * total.to(tl.float32)) / width
    tl.store(result + at, scaled(total, mean_square, epsilon, factor), mask=inside)


@triton.jit
def scaled(x, mean_square, epsilon, weight):
    """Return x over its root mean square, times the weight, in x's type."""
    normed = x.to(tl.float32) * tl.rsqrt(mean_square + epsilon)
    if weight.dtype == x.dtype:
        normed = normed.to(x.dtype).to(tl.float32)
    return (normed * weight.to(tl.float32)).to(x.dtype)
