"""Norms, rotary embedding, and attention over packed sequences."""

from itertools import pairwise

import torch
from torch.nn import functional

from intel_extension_for_pytorch.sdpa import attend


def add_rms_norm(
    residual: torch.Tensor | None,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    add_back: bool,
) -> torch.Tensor:
    x = _added(residual, x, add_back).float()
    normed = weight.float() * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return (normed if bias is None else normed + bias.float()).to(weight.dtype)


def add_layer_norm(
    residual: torch.Tensor | None,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    add_back: bool,
) -> torch.Tensor:
    return functional.layer_norm(_added(residual, x, add_back), weight.shape, weight, bias, eps)


def _added(residual: torch.Tensor | None, x: torch.Tensor, add_back: bool) -> torch.Tensor:
    """Add the residual, and with `add_back` leave the sum in its place."""
    if residual is None:
        return x
    total = residual + x
    if add_back:
        residual.copy_(total)
    return total


def rotary_embedding(
    query: torch.Tensor, key: torch.Tensor, sin: torch.Tensor, cos: torch.Tensor, rotary_dim: int, is_neox: bool
) -> None:
    """Rotate in place. query, key: [tokens, heads, head_dim]; sin, cos: [tokens, 1, rotary_dim / 2]."""
    half = cos.shape[-1]
    for states in (query, key):
        first = states[..., :half] if is_neox else states[..., 0 : 2 * half : 2]
        second = states[..., half : 2 * half] if is_neox else states[..., 1 : 2 * half : 2]
        rotated = first * cos - second * sin, second * cos + first * sin
        first.copy_(rotated[0])
        second.copy_(rotated[1])


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    starts_q: torch.Tensor,
    starts_k: torch.Tensor,
    max_q: int,
    max_k: int,
    dropout: float,
    scale: float,
    zero_tensors: bool,
    causal: bool,
    return_softmax: bool,
    generator: None,
) -> None:
    """Write the attention of each sequence over itself to `out`; sequence i is rows starts[i] to starts[i + 1]."""
    ranges = starts_q.tolist()
    for start, stop in pairwise(ranges):
        length = stop - start
        mask = torch.ones(length, length, dtype=torch.bool).tril() if causal else None
        out[start:stop] = attend(query[start:stop], key[start:stop], value[start:stop], scale, mask)
