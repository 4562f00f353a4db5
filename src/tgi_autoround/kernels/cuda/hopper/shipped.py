"""The Hopper kernels as they are compiled: shapes of their blocks, and what is constant in each. Imports no triton."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tgi_autoround.kernels.cuda.hopper import ptx
from tgi_autoround.kernels.cuda.specialization import Constant, Specialization

ARCHITECTURE = "sm_90a"
COLUMNS_OF_PART = 64
"""Output features of a warpgroup."""
_PRODUCER_REGISTERS = 24


@dataclass(frozen=True, slots=True)
class FewRows:
    """A block of `decode.py`: up to `rows` rows, 16 * blocks output features.

    unroll: tiles of the input features that a warp holds at once
    turns: room for groups, so many times `warps` tiles of the input features
    """

    rows: int
    blocks: int
    warps: int
    unroll: int
    turns: int
    max_registers: int

    @property
    def columns(self) -> int:
        return 16 * self.blocks

    def name(self, bits: int, run: int, dtype: str) -> str:
        size = f"{self.rows}x{self.columns}-w{self.warps}u{self.unroll}t{self.turns}r{self.max_registers}"
        return f"hopper-few-w{bits}-{dtype}-run{run}-{size}"


@dataclass(frozen=True, slots=True)
class ManyRows:
    """A block of `prefill.py`: `rows` rows, 64 * parts output features, each part a warpgroup's.

    stages: tiles of activations and weights in shared memory
    max_registers: of a thread when a block starts; what the copying warps do not need goes to those that multiply
    """

    rows: int
    parts: int
    stages: int
    max_registers: int

    @property
    def columns(self) -> int:
        return COLUMNS_OF_PART * self.parts

    def name(self, bits: int, run: int, dtype: str) -> str:
        return f"hopper-many-w{bits}-{dtype}-run{run}-{self.rows}x{self.columns}-s{self.stages}"


Shape: TypeAlias = FewRows | ManyRows

SHAPES: dict[str, Shape] = {
    "8x32": FewRows(rows=8, blocks=2, warps=8, unroll=2, turns=28, max_registers=128),
    "8x32-narrow": FewRows(rows=8, blocks=2, warps=4, unroll=2, turns=28, max_registers=128),
    "8x64": FewRows(rows=8, blocks=4, warps=8, unroll=1, turns=16, max_registers=128),
    "16x32": FewRows(rows=16, blocks=2, warps=8, unroll=2, turns=28, max_registers=168),
    "16x64": FewRows(rows=16, blocks=4, warps=8, unroll=1, turns=16, max_registers=168),
    "8x32-alone": FewRows(rows=8, blocks=2, warps=8, unroll=1, turns=24, max_registers=255),
    "16x32-alone": FewRows(rows=16, blocks=2, warps=8, unroll=1, turns=24, max_registers=255),
    "32x64": ManyRows(rows=32, parts=1, stages=6, max_registers=80),
    "64x64": ManyRows(rows=64, parts=1, stages=4, max_registers=128),
    "128x64": ManyRows(rows=128, parts=1, stages=3, max_registers=128),
    "128x128": ManyRows(rows=128, parts=2, stages=5, max_registers=168),
    "128x128-long": ManyRows(rows=128, parts=2, stages=3, max_registers=168),
    "256x128": ManyRows(rows=256, parts=2, stages=3, max_registers=168),
}
"""By rows x output features of a block; those alone on a multiprocessor or for long tiles are not for 4 bits
in groups of 128."""

_LONG_TILES = ("8x32-alone", "16x32-alone", "64x64", "128x64", "128x128-long")
SHIPPED: dict[tuple[int, int], tuple[str, ...]] = {
    (4, 128): tuple(name for name in SHAPES if not name.endswith(("alone", "long"))),
    (4, 32): ("8x32", "8x64", "16x32-alone", "16x64", "32x64", "64x64", "128x64", "128x128", "256x128"),
    (2, 64): _LONG_TILES,
    (3, 32): _LONG_TILES,
    (8, 64): ("8x32", "8x64", "16x32", "32x64", "128x64", "256x128"),
}
"""Names of shapes by bits and run; see `run_of` in layout.py for what a run is."""

_FEW_NUMBERS = (
    "rows",
    "x_stride_bytes",
    "in_features",
    "out_features",
    "group_shift",
    "tiles",
    "has_zero_points",
    "has_bias",
)
_MANY_NUMBERS = (
    "rows",
    "out_features",
    "group_shift",
    "tiles",
    "share",
    "has_zero_points",
    "has_bias",
)


def hopper() -> Iterator[Specialization]:
    """Yield what is compiled ahead of time."""
    for (bits, run), names in SHIPPED.items():
        for name, dtype in itertools.product(names, ("bf16", "fp16")):
            yield specialization(SHAPES[name], bits, run, dtype)


def specialization(shape: Shape, bits: int, run: int, dtype: str) -> Specialization:
    """Return what is compiled for a shape. dtype: "bf16" or "fp16"; run: see `run_of` in layout.py."""
    if isinstance(shape, FewRows):
        return _few_rows(shape, bits, run, dtype)
    return _many_rows(shape, bits, run, dtype)


def _few_rows(shape: FewRows, bits: int, run: int, dtype: str) -> Specialization:
    constants: dict[str, Constant] = {
        "FETCH": ptx.fetch(bits, shape.blocks, shape.rows, shape.unroll),
        "READ_WORDS": ptx.read_words(bits, shape.blocks, shape.rows, shape.unroll),
        "READ_ACTIVATIONS": ptx.read_activations(bits, shape.blocks, shape.rows, shape.unroll),
        "SUMS": ptx.sums_of_activations(bits, run, dtype, shape.rows),
        "PRODUCTS": ptx.products(bits, run, dtype, shape.rows),
        "BITS": bits,
        "RUN": run,
        "TILE_BYTES": ptx.bytes_of_tile(bits, shape.blocks, shape.rows),
        "ROWS": shape.rows,
        "BLOCKS": shape.blocks,
        "WARPS": shape.warps,
        "UNROLL": shape.unroll,
        "STAGED": shape.turns * (16 // bits * 32 // run),
    }
    return Specialization(
        name=shape.name(bits, run, dtype),
        architecture=ARCHITECTURE,
        kernel="hopper.decode:multiply_few_rows",
        arguments=(("x", f"*{dtype}"), *_weights(bits, dtype), ("result", f"*{dtype}"), *_numbers(_FEW_NUMBERS)),
        constants=tuple(constants.items()),
        warps=shape.warps,
        multiples_of_16=("in_features",),
        max_registers=shape.max_registers,
    )


def _many_rows(shape: ManyRows, bits: int, run: int, dtype: str) -> Specialization:
    chunk = _chunk_of(bits)
    constants: dict[str, Constant] = {
        "AFFINE": ptx.affine(bits, dtype),
        "HALVES": ptx.halves(chunk // 4),
        "WEIGHTS": ptx.weights(bits, run, dtype, chunk),
        "BITS": bits,
        "RUN": run,
        "CHUNK": chunk,
        "ROWS": shape.rows,
        "PARTS": shape.parts,
        "STAGES": shape.stages,
        "REGISTERS": _registers_to_multiply(shape),
    }
    zero_points = "u8" if bits < 8 else "i16"
    return Specialization(
        name=shape.name(bits, run, dtype),
        architecture=ARCHITECTURE,
        kernel="hopper.prefill:multiply_many_rows",
        arguments=(
            ("x", _boxes(dtype, shape.rows, chunk, swizzle_bytes=2 * chunk)),
            ("lanes", _boxes("i32", shape.columns, 16)),
            ("scales", _boxes("fp16", 1, 128)),
            ("zero_points", _boxes(zero_points, 1, 128)),
            ("bias", f"*{dtype}"),
            ("result", f"*{dtype}"),
            ("partial_sums", "*fp32"),
            ("arrivals", "*i32"),
            *_numbers(_MANY_NUMBERS),
        ),
        constants=tuple(constants.items()),
        warps=4,
        multiples_of_16=("out_features",),
        max_registers=None if shape.parts == 2 else shape.max_registers,
    )


def _registers_to_multiply(shape: ManyRows) -> int:
    """All that a block has, less what the four warps have of which one copies."""
    return (shape.max_registers * (shape.parts + 1) - _PRODUCER_REGISTERS) // shape.parts // 8 * 8


def _boxes(element: str, rows: int, columns: int, *, swizzle_bytes: int = 0) -> str:
    """Return triton's type of a matrix that the copy engine reads boxes of."""
    bits = {"u8": 8, "i32": 32}.get(element, 16)
    layout = (
        f"NVMMASharedLayout(swizzle_byte_width={swizzle_bytes}, element_bitwidth={bits}, rank=2, transposed=False, "
        "fp4_padded=False, cga_layout=[])"
    )
    return f"tensordesc<{element}[{rows}, {columns}],{layout}>"


def _chunk_of(bits: int) -> int:
    """Return how many input features the copy engine brings at once: whole slices, up to 128 bytes."""
    return 32 if bits == 3 else 64


def _weights(bits: int, dtype: str) -> tuple[tuple[str, str], ...]:
    zero_points = "*u8" if bits < 8 else "*i16"
    return (("lanes", "*i32"), ("scales", "*fp16"), ("zero_points", zero_points), ("bias", f"*{dtype}"))


def _numbers(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, "i32") for name in names)
