"""The portable kernels' specializations: what each is called and made of, and which are compiled ahead of time.

What is left out here is compiled by triton on the machine that needs it.
"""

import functools
import itertools
from collections.abc import Iterator

import torch

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda.configuration import SHAPE_UP_TO_ROWS, Shape, stages_of
from tgi_autoround.kernels.cuda.instructions import instructions
from tgi_autoround.kernels.cuda.layout import features_in_tile, is_scattered, run_of
from tgi_autoround.kernels.cuda.specialization import Specialization

DEQUANTIZED_ROWS = 64
PACKED_COLUMNS = 128
MULTIPLE = 16
"""Features of a layer and strides of its activations are multiples of this; so are addresses, in bytes."""

_TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
_RUNS_OF_BITS = {2: (128, 32), 3: (32,), 4: (128, 32), 8: (64, 32)}
"""See RUN in matmul.py. A layer takes the first that fits its groups: groups of 64 in 4 bits take 32."""
_NUMBERS_OF_MULTIPLY = (
    "rows",
    "x_stride",
    "in_features",
    "out_features",
    "group_size",
    "groups",
    "tiles",
    "tiles_in_split",
    "symmetric",
    "biased",
)
_NUMBERS_OF_DEQUANTIZE = ("first_row", "rows", "in_features", "out_features", "group_size", "groups", "symmetric")
_SHARED_BYTES = {"sm_80": 166_912, "sm_86": 101_376, "sm_89": 101_376, "sm_90a": 232_448}
"""What a block may take, by architecture."""


def portable() -> Iterator[Specialization]:
    """Yield what is compiled ahead of time of the portable kernels, for every architecture."""
    for architecture, (bits, runs) in itertools.product(_SHARED_BYTES, _RUNS_OF_BITS.items()):
        yield _pack(architecture, bits)
        for dtype in _TYPES:
            yield _dequantize(architecture, bits, dtype)
            for run, shape in itertools.product(runs, SHAPE_UP_TO_ROWS.values()):
                yield _multiply(architecture, bits, dtype, run, shape)


@functools.cache
def multiply_name(bits: int, dtype: torch.dtype, run: int, rows: int, columns: int) -> str:
    return f"multiply-w{bits}-{_TYPES[dtype]}-run{run}-{rows}x{columns}"


@functools.cache
def dequantize_name(bits: int, dtype: torch.dtype) -> str:
    return f"dequantize-w{bits}-{_TYPES[dtype]}"


@functools.cache
def pack_name(bits: int) -> str:
    return f"pack-w{bits}"


@functools.cache
def shipped_run(spec: LayerSpec) -> int | None:
    """Return the RUN with which a layer's products are shipped, or None where they are not."""
    in_features, bits = spec.in_features, spec.scheme.bits
    if is_scattered(spec) or in_features % MULTIPLE or spec.out_features % MULTIPLE:
        return None
    if _in_whole_tiles(bits) and in_features % features_in_tile(bits):
        return None
    return next((run for run in _RUNS_OF_BITS.get(bits, ()) if run_of(spec) % run == 0), None)


def _multiply(architecture: str, bits: int, dtype: torch.dtype, run: int, shape: Shape) -> Specialization:
    text, offset = instructions(bits, dtype)
    element = f"*{_TYPES[dtype]}"
    return Specialization(
        name=multiply_name(bits, dtype, run, shape.rows, shape.columns),
        architecture=architecture,
        kernel="matmul:multiply_packed",
        arguments=(
            ("x", element),
            ("lanes", "*i16"),
            ("scales", "*fp16"),
            ("zero_points", _zero_points_type(bits)),
            ("bias", element),
            ("result", element),
            ("partial_sums", "*fp32"),
            ("arrivals", "*i32"),
            *((name, "i32") for name in _NUMBERS_OF_MULTIPLY),
        ),
        constants=(
            ("BITS", bits),
            ("RUN", run),
            ("SCATTERED", False),
            ("IN_WHOLE_TILES", _in_whole_tiles(bits)),
            ("ROWS", shape.rows),
            ("COLUMNS", shape.columns),
            ("INSTRUCTIONS", text),
            ("OFFSET", offset),
            ("IN_FLOAT32", False),
        ),
        warps=shape.warps,
        stages=stages_of(shape, bits, _SHARED_BYTES[architecture]),
        multiples_of_16=("x_stride", "in_features", "out_features"),
    )


def _dequantize(architecture: str, bits: int, dtype: torch.dtype) -> Specialization:
    return Specialization(
        name=dequantize_name(bits, dtype),
        architecture=architecture,
        kernel="dequantize:dequantize_packed",
        arguments=(
            ("lanes", "*i16"),
            ("scales", "*fp16"),
            ("zero_points", _zero_points_type(bits)),
            ("result", f"*{_TYPES[dtype]}"),
            *((name, "i32") for name in _NUMBERS_OF_DEQUANTIZE),
        ),
        constants=(("BITS", bits), ("SCATTERED", False), ("ROWS", DEQUANTIZED_ROWS)),
        warps=4,
        multiples_of_16=("in_features", "out_features"),
    )


def _pack(architecture: str, bits: int) -> Specialization:
    return Specialization(
        name=pack_name(bits),
        architecture=architecture,
        kernel="pack:pack_codes",
        arguments=(("codes", "*u8"), ("lanes", "*i16"), ("in_features", "i32"), ("out_features", "i32")),
        constants=(("BITS", bits), ("COLUMNS", PACKED_COLUMNS)),
        warps=4,
        multiples_of_16=("out_features",),
    )


def _zero_points_type(bits: int) -> str:
    return "*u8" if bits < 8 else "*i16"


def _in_whole_tiles(bits: int) -> bool:
    """Tiles of 160 input features, those of 3 bits, are hardly ever filled."""
    return bits != 3
