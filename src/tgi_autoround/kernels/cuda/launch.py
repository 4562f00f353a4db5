"""From a layer's buffers to launches of the kernels. Importing this imports triton."""

import functools
import math
from collections.abc import Mapping

import torch
import triton
import triton.language as tl

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda.configuration import (
    MAX_BLOCKS_TO_SPLIT,
    WORKSPACE_BYTES,
    Configuration,
    Device,
    columns_at_a_time,
)
from tgi_autoround.kernels.cuda.dequantize import dequantize_packed
from tgi_autoround.kernels.cuda.layout import LANES_IN_TILE, features_in_tile, tiles_in
from tgi_autoround.kernels.cuda.matmul import multiply_packed

Buffers = Mapping[str, torch.Tensor]

IS_INTERPRETED = not isinstance(multiply_packed, triton.JITFunction)
"""TRITON_INTERPRET=1 runs kernels in numpy, which knows neither bfloat16 nor a GPU's instructions."""

_TRITON_TYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}
_DEQUANTIZED_ROWS = 64


@functools.cache
def device_of(device: torch.device) -> Device:
    """Return the device's size; the interpreter runs one block at a time."""
    if device.type != "cuda":
        return Device(multiprocessors=1, shared_bytes=2**16)
    index = device.index if device.index is not None else torch.cuda.current_device()
    shared_bytes = triton.runtime.driver.active.utils.get_device_properties(index)["max_shared_mem"]
    return Device(torch.cuda.get_device_properties(index).multi_processor_count, shared_bytes)


@functools.cache
def workspace(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return room for intermediate values, and how many of each block's splits have arrived: one for all layers.

    A device's products thus have to run one after the other, as those of one stream do.
    """
    room = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
    return room, torch.zeros(MAX_BLOCKS_TO_SPLIT, dtype=torch.int32, device=device)


@functools.cache
def instructions(bits: int, dtype: torch.dtype) -> tuple[str | None, float]:
    """Return PTX (sm_80 and later) that takes two lanes' lowest codes less their zero points, and its offset.

    Operand 2 holds two lanes; operand 3, for each, minus the zero point and the offset: a number whose last mantissa
    bits are worth 1, so that `or` adds codes to it. None where codes have more bits than that mantissa.
    """
    if dtype is torch.float16:
        suffix, one, offset_bits, offset, mantissa_bits = "f16x2", 0x3C003C00, 0x64006400, 1024.0, 10
    else:
        suffix, one, offset_bits, offset, mantissa_bits = "bf16x2", 0x3F803F80, 0x43004300, 128.0, 7
    if IS_INTERPRETED or bits > mantissa_bits:
        return None, 0.0
    mask = ((1 << bits) - 1) * 0x10001
    text = f"""{{ .reg .b32 codes, one;
        mov.b32 one, {one:#x};
        lop3.b32 codes, $2, {mask:#x}, {offset_bits:#x}, 0xea;
        fma.rn.{suffix} $0, codes, one, $3;
        shr.u32 $1, $2, {bits}; }}"""
    return text, offset


def multiply(x: torch.Tensor, buffers: Buffers, spec: LayerSpec, configuration: Configuration) -> torch.Tensor:
    """Return `x @ weight + bias`: [rows, in_features] -> [rows, out_features], float16 or bfloat16 as x is."""
    rows, (text, offset) = x.shape[0], instructions(spec.scheme.bits, x.dtype)
    result = torch.empty(rows, spec.out_features, dtype=x.dtype, device=x.device)
    room, arrivals = workspace(x.device)
    tiles = tiles_in(spec)
    blocks = -(-rows // configuration.rows) * -(-spec.out_features // configuration.columns)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        multiply_packed[(blocks, configuration.splits)](
            x,
            buffers["lanes"],
            buffers["scales"],
            buffers.get("zero_points"),
            buffers.get("bias"),
            result,
            room.view(torch.float32),
            arrivals,
            rows,
            x.stride(0),
            spec.in_features,
            spec.out_features,
            spec.group_size,
            spec.num_groups,
            tiles,
            -(-tiles // configuration.splits),
            BITS=spec.scheme.bits,
            RUN=_run(spec),
            SCATTERED=_is_scattered(spec),
            IN_WHOLE_TILES=spec.in_features % features_in_tile(spec.scheme.bits) == 0,
            IS_SPLIT=configuration.splits > 1,
            ROWS=configuration.rows,
            COLUMNS=configuration.columns,
            INSTRUCTIONS=text,
            OFFSET=offset,
            OPERAND=tl.float32 if IS_INTERPRETED else _TRITON_TYPES[x.dtype],
            num_warps=configuration.warps,
            num_stages=configuration.stages,
        )
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


def _dequantize(buffers: Buffers, spec: LayerSpec, part: slice, x: torch.Tensor) -> torch.Tensor:
    rows = part.stop - part.start
    room, _ = workspace(x.device)
    weight = room.view(x.dtype)[: rows * spec.in_features].view(rows, spec.in_features)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        dequantize_packed[(tiles_in(spec), -(-rows // _DEQUANTIZED_ROWS))](
            buffers["lanes"],
            buffers["scales"],
            buffers.get("zero_points"),
            weight,
            part.start,
            rows,
            spec.in_features,
            spec.out_features,
            spec.group_size,
            spec.num_groups,
            BITS=spec.scheme.bits,
            SCATTERED=_is_scattered(spec),
            ROWS=_DEQUANTIZED_ROWS,
        )
    return weight


def _is_scattered(spec: LayerSpec) -> bool:
    return spec.num_groups > 1 and spec.group_size % LANES_IN_TILE != 0


def _run(spec: LayerSpec) -> int:
    in_tile = features_in_tile(spec.scheme.bits)
    if spec.num_groups == 1:
        return in_tile
    return LANES_IN_TILE if _is_scattered(spec) else math.gcd(spec.group_size, in_tile)
