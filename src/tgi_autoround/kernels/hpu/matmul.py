"""What both kernels do with a weight once they have it."""

import torch


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return `x @ weight + bias`, computed in weight's dtype, in x's: [..., K] with [K, N] and [N] -> [..., N]."""
    y = x.to(weight.dtype) @ weight
    return (y if bias is None else y + bias).to(x.dtype)
