"""What launches of the portable kernel have in common, computed once for each shape."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda import launcher, shipped
from tgi_autoround.kernels.cuda.configuration import Configuration
from tgi_autoround.kernels.cuda.layout import tiles_in
from tgi_autoround.kernels.cuda.workspace import workspace

Buffers = Mapping[str, torch.Tensor]


class Activations(NamedTuple):
    """What launches depend on of x [rows, features]; x_stride in elements from row to row."""

    rows: int
    x_stride: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: torch.Tensor) -> "Activations":
        return cls(x.shape[0], x.stride(0), x.dtype, x.device)


class PortablePlan:
    """Launches of the portable kernel for activations of one shape and layers of one kind, all but the addresses."""

    def __init__(self, x: Activations, spec: LayerSpec, configuration: Configuration) -> None:
        blocks = -(-x.rows // configuration.rows) * -(-spec.out_features // configuration.columns)
        self._of = (spec, configuration)
        self._shape = (x.rows, spec.out_features)
        self._grid = (blocks, configuration.splits, 1)
        self._space = workspace(x.device)
        self._numbers = _numbers(x, spec, configuration)
        self._last = (self._space.partial_sums.data_ptr(), self._space.arrivals.data_ptr(), *self._numbers)
        self._function = _function(x, spec, configuration)

    def __call__(self, x: torch.Tensor, buffers: Buffers) -> torch.Tensor:
        """Queue a product; return its result, [rows, out_features]."""
        result, scales = x.new_empty(self._shape), buffers["scales"]
        tensors = (
            x,
            buffers["lanes"],
            scales,
            buffers.get("zero_points", scales),
            buffers.get("bias", result),
            result,
        )
        addresses = [tensor.data_ptr() for tensor in tensors]
        if self._function is not None and addresses[0] % shipped.MULTIPLE == 0:
            self._function.queue(self._grid, (*addresses, *self._last))
        else:
            self._run_compiled_here(tensors)
        return result

    def _run_compiled_here(self, tensors: tuple[torch.Tensor, ...]) -> None:
        from tgi_autoround.kernels.cuda import jit

        with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
            jit.multiply(
                self._grid, (*tensors, self._space.partial_sums, self._space.arrivals), self._numbers, *self._of
            )


def _numbers(x: Activations, spec: LayerSpec, configuration: Configuration) -> tuple[int, ...]:
    tiles = tiles_in(spec)
    return (
        x.rows,
        x.x_stride,
        spec.in_features,
        spec.out_features,
        spec.group_size,
        spec.num_groups,
        tiles,
        -(-tiles // configuration.splits),
        int(spec.scheme.sym),
        int(spec.has_bias),
    )


def _function(x: Activations, spec: LayerSpec, configuration: Configuration) -> launcher.Function | None:
    """Return the kernel that is shipped for a product, or None where triton compiles it."""
    run = shipped.shipped_run(spec)
    if run is None or x.device.type != "cuda" or x.x_stride % shipped.MULTIPLE:
        return None
    name = shipped.multiply_name(spec.scheme.bits, x.dtype, run, configuration.rows, configuration.columns)
    return launcher.find(name, x.device.index)
