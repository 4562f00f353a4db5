"""The packed linear as one operation: a plain call in eager mode, an opaque operator where torch traces or compiles.

`torch.ops.tgi_autoround.packed_linear` is registered by importing this, from torch 2.3 on.
"""

import functools
from collections.abc import Callable

import torch

from tgi_autoround.checkpoint import LayerSpec, Packing, QuantScheme
from tgi_autoround.kernels.cuda import configuration, launch, shipped
from tgi_autoround.kernels.cuda.hopper import configuration as hopper_configuration
from tgi_autoround.kernels.cuda.hopper import launches
from tgi_autoround.kernels.cuda.plan import Activations, Buffers, PortablePlan
from tgi_autoround.kernels.cuda.workspace import device_of

Plan = Callable[[torch.Tensor, Buffers], torch.Tensor]

_LIBRARY = torch.library.Library("tgi_autoround", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "packed_linear(Tensor x, Tensor lanes, Tensor scales, Tensor? zero_points, Tensor? bias, "
    "int in_features, int bits, int group_size, bool on_hopper=False) -> Tensor"
)


def linear(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, *, on_hopper: bool = False) -> torch.Tensor:
    """Return `x @ weight + bias`: [..., in_features] -> [..., out_features], in x's dtype.

    on_hopper: by the Hopper kernels, which take this layer
    """
    if not torch.compiler.is_compiling():
        return _multiply(x, buffers, spec, on_hopper)
    result: torch.Tensor = torch.ops.tgi_autoround.packed_linear(
        x,
        buffers["lanes"],
        buffers["scales"],
        buffers.get("zero_points"),
        buffers.get("bias"),
        spec.in_features,
        spec.scheme.bits,
        spec.group_size,
        on_hopper,
    )
    return result


def _multiply(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, on_hopper: bool) -> torch.Tensor:
    rows = _readable(x if x.dim() == 2 else x.reshape(-1, spec.in_features))
    plan = _plan(
        rows.shape[0],
        rows.stride(0),
        rows.dtype,
        rows.device,
        spec.in_features,
        spec.out_features,
        spec.scheme.bits,
        spec.scheme.group_size,
        "zero_points" not in buffers,
        "bias" in buffers,
        on_hopper,
    )
    result = plan(rows, buffers)
    return result if x.dim() == 2 else result.view(*x.shape[:-1], spec.out_features)


@functools.lru_cache(maxsize=2**14)
def _plan(
    rows: int,
    x_stride: int,
    dtype: torch.dtype,
    device: torch.device,
    in_features: int,
    out_features: int,
    bits: int,
    group_size: int,
    sym: bool,
    has_bias: bool,
    on_hopper: bool,
) -> Plan:
    """Return what multiplies. Of plain numbers, not of a spec, as these are hashed in every call."""
    spec = _spec(in_features, out_features, bits, group_size, sym, has_bias)
    x = Activations(rows, x_stride, dtype, device)
    choice = hopper_configuration.choose(rows, spec) if on_hopper and rows else None
    if choice is not None:
        return launches.plan(x, spec, choice)
    if rows == 0 or rows > configuration.MAX_ROWS:
        return functools.partial(launch.multiply_dequantized, spec=spec)
    return PortablePlan(x, spec, configuration.choose(rows, spec, device_of(device)))


def _readable(rows: torch.Tensor) -> torch.Tensor:
    """Return rows of adjacent features, copied where machine code that is shipped could not read them."""
    row_stride, feature_stride = rows.stride()
    is_aligned = (row_stride | rows.data_ptr()) % shipped.MULTIPLE == 0 or rows.shape[1] % shipped.MULTIPLE != 0
    return rows if feature_stride == 1 and is_aligned else rows.clone(memory_format=torch.contiguous_format)


def _packed_linear(
    x: torch.Tensor,
    lanes: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    bias: torch.Tensor | None,
    in_features: int,
    bits: int,
    group_size: int,
    on_hopper: bool = False,
) -> torch.Tensor:
    optional = {"zero_points": zero_points, "bias": bias}
    buffers = {"lanes": lanes, "scales": scales, **{name: each for name, each in optional.items() if each is not None}}
    spec = _spec(in_features, lanes.shape[1], bits, group_size, zero_points is None, bias is not None)
    return _multiply(x, buffers, spec, on_hopper)


def _shape_of_packed_linear(x: torch.Tensor, lanes: torch.Tensor, *_: object) -> torch.Tensor:
    return x.new_empty(*x.shape[:-1], lanes.shape[1])


@functools.cache
def _spec(in_features: int, out_features: int, bits: int, group_size: int, sym: bool, has_bias: bool) -> LayerSpec:
    scheme = QuantScheme(bits, group_size, sym, Packing.GPTQ)
    return LayerSpec("packed_linear", scheme, in_features, out_features, has_bias)


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("packed_linear", _packed_linear, _key)  # type: ignore[no-untyped-call]
_LIBRARY.impl("packed_linear", _shape_of_packed_linear, "Meta")  # type: ignore[no-untyped-call]
