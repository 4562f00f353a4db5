"""Whether the device computes weights right: asked once for layers of a kind, at load, before any of them serves."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace

import torch

from tgi_autoround.checkpoint import LayerSpec, NormalForm
from tgi_autoround.checkpoint.sharding import in_column_parts
from tgi_autoround.errors import UnsupportedError

_right: set[Hashable] = set()

Dequantize = Callable[[Mapping[str, torch.Tensor], LayerSpec], torch.Tensor]
"""Buffers -> the weight [K, N] as the device computes it."""


def check_once(kernel: str, dequantize: Dequantize, buffers: Mapping[str, torch.Tensor], weight: NormalForm) -> None:
    """Compare what a kernel computes from its buffers of `weight` with what the files say; once for layers of a kind.

    Raises UnsupportedError where they differ by more than roundings of the scale and the product.
    """
    spec = weight.spec
    dtypes = frozenset((name, buffer.dtype, buffer.device.type) for name, buffer in buffers.items())
    kind = (kernel, spec.scheme.bits, spec.group_size, spec.in_features, spec.out_features, dtypes)
    if kind in _right:
        return
    got = dequantize(buffers, spec)
    if not _agree(got.cpu(), _on_host(weight)):
        raise UnsupportedError(
            f"layer {spec.name}: {spec}: {kernel} on {got.device.type} computes other weights in {got.dtype} than the "
            "files hold, and the model would answer wrong; report it with what scripts/hpu_selftest.py prints here"
        )
    _right.add(kind)


def _agree(got: torch.Tensor, weight: NormalForm) -> bool:
    bound = 2 * torch.finfo(got.dtype).eps
    return all(
        torch.allclose(got[:, part].float(), columns.dequantize().t(), rtol=bound, atol=0)
        for part, columns in in_column_parts(weight)
    )


def _on_host(weight: NormalForm) -> NormalForm:
    """Rows stay in the order of the codes, as kernels hold them."""
    on_host = {name: getattr(weight, name).cpu() for name in ("codes", "zero_points", "scales")}
    return replace(weight, **on_host, bias=None, input_order=None)
