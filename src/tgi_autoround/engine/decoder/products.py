"""Linears as functions that write into a given tensor."""

from collections.abc import Callable

import torch
from torch import nn

from tgi_autoround.engine.decoder.weights import Linear
from tgi_autoround.kernels.cpu import ArkKernel
from tgi_autoround.linear import QLinear

Product = Callable[[torch.Tensor, torch.Tensor], object]
"""Takes contiguous rows [tokens, in_features] and writes to contiguous rows [tokens, out_features]."""


def product(linear: Linear) -> Product:
    """Return the linear as a function that allocates nothing where its kernel can do that."""
    if isinstance(linear, QLinear) and isinstance(linear.kernel, ArkKernel) and linear.input_order is None:
        return linear.kernel.bind(linear.kernel_buffers(), linear.spec)
    if isinstance(linear, nn.Linear):
        return _dense(linear)
    return lambda rows, out: out.copy_(linear(rows))


def _dense(linear: nn.Linear) -> Product:
    transposed, bias = linear.weight.t(), linear.bias
    if bias is None:
        return lambda rows, out: torch.mm(rows, transposed, out=out)
    return lambda rows, out: torch.addmm(bias, rows, transposed, out=out)
