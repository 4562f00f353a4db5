"""From a layer's buffers to launches: of the machine code that is shipped for the device, else of what triton compiles.

Importing this imports no triton.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda import driver, launcher, shipped
from tgi_autoround.kernels.cuda.configuration import (
    MAX_BLOCKS_TO_SPLIT,
    SHAPE_UP_TO_ROWS,
    WORKSPACE_BYTES,
    Configuration,
    Device,
    columns_at_a_time,
)
from tgi_autoround.kernels.cuda.layout import LANES_IN_TILE, features_in_tile, tiles_in

Buffers = Mapping[str, torch.Tensor]


class Workspace(NamedTuple):
    """Room for intermediate values, and how many of each block's splits have arrived: one for all layers of a device.

    A device's products thus have to run one after the other, as those of one stream do.
    """

    room: torch.Tensor
    partial_sums: torch.Tensor
    arrivals: torch.Tensor


class _Plan(NamedTuple):
    """What launches of one shape have in common; `function` is None where triton compiles it."""

    grid: tuple[int, int, int]
    numbers: tuple[int, ...]
    function: launcher.Function | None


_Activations = tuple[int, int, int, torch.dtype, torch.device]
"""rows, features, stride of rows, type and device"""


@functools.cache
def device_of(device: torch.device) -> Device:
    """Return the device's size; the interpreter runs one block at a time."""
    if device.type != "cuda":
        return Device(multiprocessors=1, shared_bytes=2**16)
    index = device.index if device.index is not None else torch.cuda.current_device()
    shared_bytes = driver.device_attribute(driver.MAX_SHARED_BYTES_OF_BLOCK, index)
    return Device(torch.cuda.get_device_properties(index).multi_processor_count, shared_bytes)


@functools.cache
def workspace(device: torch.device) -> Workspace:
    """Return the device's workspace, allocated once."""
    room = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
    return Workspace(room, room.view(torch.float32), torch.zeros(MAX_BLOCKS_TO_SPLIT, dtype=torch.int32, device=device))


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
    space = workspace(x.device)
    result = torch.empty(x.shape[0], spec.out_features, dtype=x.dtype, device=x.device)
    bias, zero_points = buffers.get("bias"), buffers.get("zero_points")
    tensors = (
        x,
        buffers["lanes"],
        buffers["scales"],
        zero_points if zero_points is not None else buffers["scales"],
        bias if bias is not None else result,
        result,
        space.partial_sums,
        space.arrivals,
    )
    of_launch = (*x.shape, x.stride(0), x.dtype, x.device)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        plan = _plan(of_launch, spec, configuration, zero_points is None, bias is not None)
        if plan.function is not None and x.data_ptr() % shipped.MULTIPLE == 0:
            values = (*map(torch.Tensor.data_ptr, tensors), *plan.numbers)
            plan.function.launch(plan.grid, values, launcher.current_stream(x.device.index))
        else:
            from tgi_autoround.kernels.cuda import jit

            jit.multiply(plan.grid, tensors, plan.numbers, spec, configuration)
    return result


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
            function.launch(grid, values, launcher.current_stream(codes.device.index))
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
            function.launch(
                grid, (*map(torch.Tensor.data_ptr, tensors), *numbers), launcher.current_stream(x.device.index)
            )
        else:
            from tgi_autoround.kernels.cuda import jit

            jit.dequantize(grid, tensors, numbers, spec)
    return weight


@functools.lru_cache(maxsize=2**14)
def _plan(x: _Activations, spec: LayerSpec, configuration: Configuration, symmetric: bool, biased: bool) -> _Plan:
    rows, _, x_stride, dtype, device = x
    tiles = tiles_in(spec)
    numbers = (
        rows,
        x_stride,
        spec.in_features,
        spec.out_features,
        spec.group_size,
        spec.num_groups,
        tiles,
        -(-tiles // configuration.splits),
        int(symmetric),
        int(biased),
    )
    blocks = -(-rows // configuration.rows) * -(-spec.out_features // configuration.columns)
    run, function = shipped.shipped_run(spec), None
    if run is not None and device.type == "cuda" and x_stride % shipped.MULTIPLE == 0:
        name = shipped.multiply_name(spec.scheme.bits, dtype, run, configuration.rows, configuration.columns)
        function = launcher.find(name, device.index)
    return _Plan((blocks, configuration.splits, 1), numbers, function)
