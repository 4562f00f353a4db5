"""From a layer's buffers to launches: of the machine code that is shipped for the device, else of what triton compiles.

Importing this imports no triton.
"""

from dataclasses import replace

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda import launcher, shipped
from tgi_autoround.kernels.cuda.configuration import (
    SHAPE_UP_TO_ROWS,
    Configuration,
    all_of,
    columns_at_a_time,
)
from tgi_autoround.kernels.cuda.layout import LANES_IN_TILE, features_in_tile, tiles_in
from tgi_autoround.kernels.cuda.plan import Activations, Buffers, PortablePlan
from tgi_autoround.kernels.cuda.workspace import device_of, workspace

_WARM: set[tuple[LayerSpec, torch.device, torch.dtype, tuple[bool, ...]]] = set()
"""Triton compiles anew for addresses of another alignment."""


def is_shipped(spec: LayerSpec, device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether the package holds machine code for a layer's products on this device."""
    run = shipped.shipped_run(spec)
    if run is None:
        return False
    capability = torch.cuda.get_device_capability(device)
    shapes = SHAPE_UP_TO_ROWS.values()
    names = [shipped.multiply_name(spec.scheme.bits, dtype, run, shape.rows, shape.columns) for shape in shapes]
    return all(launcher.find_cubin(name, capability) is not None for name in names)


def multiply(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, configuration: Configuration) -> torch.Tensor:
    """Return `x @ weight + bias`: [rows, in_features] -> [rows, out_features], float16 or bfloat16 as x is."""
    return PortablePlan(Activations.of(x), spec, configuration)(x, buffers)


def warm_up(buffers: Buffers, spec: LayerSpec, dtype: torch.dtype) -> None:
    """Run every portable kernel that layers like this one may take, so that none is loaded or compiled later."""
    device = buffers["lanes"].device
    are_aligned = tuple(tensor.data_ptr() % shipped.MULTIPLE == 0 for tensor in buffers.values())
    kind = (replace(spec, name=""), device, dtype, are_aligned)
    if kind in _WARM:
        return
    row = torch.zeros(1, spec.in_features, device=device, dtype=dtype)
    for each in all_of(spec, device_of(device)):
        multiply(row, buffers, spec, each)
    multiply_dequantized(row, buffers, spec)
    _WARM.add(kind)


def multiply_dequantized(x: torch.Tensor, buffers: Buffers, spec: LayerSpec) -> torch.Tensor:
    """Return the same by torch's own product, with as many weights at a time as the workspace holds."""
    result = torch.empty(x.shape[0], spec.out_features, dtype=x.dtype, device=x.device)
    bias, step = buffers.get("bias"), columns_at_a_time(spec)
    for start in range(0, spec.out_features, step):
        part = slice(start, min(start + step, spec.out_features))
        weight = _dequantize(buffers, spec, part, x)
        if bias is None:
            torch.mm(x, weight.t(), out=result[:, part])
        else:
            torch.addmm(bias[part], x, weight.t(), out=result[:, part])
    return result


def pack_lanes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the lanes of a layer, as `layout.pack_lanes` does, in one pass over its codes."""
    codes = codes.contiguous()
    in_features, out_features = codes.shape
    tiles = -(-in_features // features_in_tile(bits))
    lanes = torch.empty(tiles, out_features, LANES_IN_TILE, dtype=torch.int16, device=codes.device)
    grid = (tiles, -(-out_features // shipped.PACKED_COLUMNS), 1)
    with torch.cuda.device_of(codes):  # type: ignore[no-untyped-call]
        is_shipped = codes.is_cuda and (out_features | codes.data_ptr()) % shipped.MULTIPLE == 0
        function = launcher.find(shipped.pack_name(bits), codes.device.index) if is_shipped else None
        if function is not None:
            values = (codes.data_ptr(), lanes.data_ptr(), in_features, out_features)
            function.queue(grid, values)
        else:
            from tgi_autoround.kernels.cuda import jit

            jit.pack(grid, codes, lanes, bits)
    return lanes


def _dequantize(buffers: Buffers, spec: LayerSpec, part: slice, x: torch.Tensor) -> torch.Tensor:
    rows = part.stop - part.start
    weight = workspace(x.device).room.view(x.dtype)[: rows * spec.in_features].view(rows, spec.in_features)
    zero_points = buffers.get("zero_points")
    tensors = (
        buffers["lanes"],
        buffers["scales"],
        zero_points if zero_points is not None else buffers["scales"],
        weight,
    )
    numbers = (
        part.start,
        rows,
        spec.in_features,
        spec.out_features,
        spec.group_size,
        spec.num_groups,
        int(zero_points is None),
    )
    grid = (tiles_in(spec), -(-rows // shipped.DEQUANTIZED_ROWS), 1)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        is_shipped = x.is_cuda and shipped.shipped_run(spec) is not None
        name = shipped.dequantize_name(spec.scheme.bits, x.dtype)
        function = launcher.find(name, x.device.index) if is_shipped else None
        if function is not None:
            function.queue(grid, (*map(torch.Tensor.data_ptr, tensors), *numbers))
        else:
            from tgi_autoround.kernels.cuda import jit

            jit.dequantize(grid, tensors, numbers, spec)
    return weight
