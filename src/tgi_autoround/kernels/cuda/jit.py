"""The portable kernels as triton compiles them on the machine that runs them. Importing this imports triton."""

from typing import Any

import torch
import triton

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda import shipped
from tgi_autoround.kernels.cuda.configuration import Configuration
from tgi_autoround.kernels.cuda.dequantize import dequantize_packed
from tgi_autoround.kernels.cuda.instructions import instructions
from tgi_autoround.kernels.cuda.layout import features_in_tile, is_scattered, run_of
from tgi_autoround.kernels.cuda.matmul import multiply_packed
from tgi_autoround.kernels.cuda.pack import pack_codes

IS_INTERPRETED = not isinstance(multiply_packed, triton.JITFunction)
"""TRITON_INTERPRET=1 runs kernels in numpy, which knows neither bfloat16 nor a GPU's instructions."""

Grid = tuple[int, int, int]


def multiply(
    grid: Grid,
    tensors: tuple[torch.Tensor, ...],
    numbers: tuple[int, ...],
    spec: LayerSpec,
    configuration: Configuration,
) -> None:
    """Launch matmul.py's kernel with `tensors` and `numbers` as its arguments."""
    multiply_packed[grid](
        *tensors,
        *numbers,
        **constants_of_multiply(spec, tensors[0].dtype, configuration),
        num_warps=configuration.warps,
        num_stages=configuration.stages,
    )


def dequantize(grid: Grid, tensors: tuple[torch.Tensor, ...], numbers: tuple[int, ...], spec: LayerSpec) -> None:
    """Launch dequantize.py's kernel with `tensors` and `numbers` as its arguments."""
    dequantize_packed[grid](
        *tensors,
        *numbers,
        BITS=spec.scheme.bits,
        SCATTERED=is_scattered(spec),
        ROWS=shipped.DEQUANTIZED_ROWS,
    )


def pack(grid: Grid, codes: torch.Tensor, lanes: torch.Tensor, bits: int) -> None:
    """Launch pack.py's kernel."""
    pack_codes[grid](codes, lanes, *codes.shape, BITS=bits, COLUMNS=shipped.PACKED_COLUMNS)


def constants_of_multiply(spec: LayerSpec, dtype: torch.dtype, configuration: Configuration) -> dict[str, Any]:
    """Return the compile-time parameters that fit the layer best."""
    text, offset = instructions(spec.scheme.bits, dtype) if not IS_INTERPRETED else (None, 0.0)
    return {
        "BITS": spec.scheme.bits,
        "RUN": run_of(spec),
        "SCATTERED": is_scattered(spec),
        "IN_WHOLE_TILES": spec.in_features % features_in_tile(spec.scheme.bits) == 0,
        "ROWS": configuration.rows,
        "COLUMNS": configuration.columns,
        "INSTRUCTIONS": text,
        "OFFSET": offset,
        "IN_FLOAT32": IS_INTERPRETED,
    }
