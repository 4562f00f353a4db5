"""Which Hopper kernel multiplies: a pure function of the product's shape, by what was timed (`configurations.json`).

A layer takes the choice of the measured layer that is nearest to it; `tgi-autoround bench tune` measures more.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda.configuration import MAX_BLOCKS_TO_SPLIT, WORKSPACE_BYTES
from tgi_autoround.kernels.cuda.hopper.shipped import SHAPES, SHIPPED, ManyRows, Shape
from tgi_autoround.kernels.cuda.layout import run_of, tiles_in

TABLE = Path(__file__).parent / "configurations.json"
PORTABLE = "portable"
"""The name in the table of the portable kernel, which is faster for some products."""

MULTIPROCESSORS = 132
MAX_SPLITS = 4
MIN_TILES_IN_SPLIT = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel: its shape, the run that it is compiled for, and for many rows the tiles that a program multiplies."""

    shape: Shape
    run: int
    share: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The fastest kernels of a layer, by up to how many rows; the last is for all more."""

    bits: int
    out_features: int
    in_features: int
    up_to_rows: tuple[tuple[int, str], ...]


def reason_against(spec: LayerSpec) -> str | None:
    """Say why no Hopper kernel takes a layer, or None where one does."""
    if spec.in_features % 32 or spec.out_features % 16:
        return f"it takes multiples of 32 inputs and 16 outputs, not {spec.in_features} and {spec.out_features}"
    if spec.num_groups > 1 and spec.group_size & (spec.group_size - 1):
        return f"it takes groups of a power of two, not of {spec.group_size}"
    if _run(spec) is None:
        return f"it is not compiled for {spec.scheme.bits} bits in groups of {spec.group_size}"
    return None


def shipped_names(spec: LayerSpec, dtype: str) -> list[str]:
    """Return the names of all kernels that a layer's choices are among. dtype: "bf16" or "fp16"."""
    run = _run(spec)
    return (
        []
        if run is None
        else [SHAPES[name].name(spec.scheme.bits, run, dtype) for name in SHIPPED[spec.scheme.bits, run]]
    )


@functools.lru_cache(maxsize=8192)
def choose(rows: int, spec: LayerSpec) -> Choice | None:
    """Return what multiplies activations [rows, in_features], or None where the portable kernel is faster.

    Only for layers that `reason_against` has nothing against.
    """
    run = _run(spec)
    if run is None:
        return None
    shipped = SHIPPED[spec.scheme.bits, run]
    name = _name(rows, nearest(spec))
    if name == PORTABLE:
        return None
    fitting = tuple(each for each in shipped if _fits(SHAPES[each], spec))
    return _choice(SHAPES[name] if name in fitting else _smallest(fitting, rows), run, rows, spec)


def all_of(spec: LayerSpec) -> set[Choice | None]:
    """Return the choices of every number of rows: all that differ in more than the share.

    A choice holds up to a limit of the table, or where the layer cannot have the table's, of a shape's rows.
    """
    limits = {rows for rows, _ in nearest(spec).up_to_rows} | {shape.rows for shape in SHAPES.values()}
    return {choose(rows, spec) for rows in (*limits, max(limits) + 1)}


def choices(rows: int, spec: LayerSpec) -> dict[str, Choice]:
    """Return all that can multiply this many rows at once, or any rows in several blocks, by their names."""
    run = _run(spec)
    if run is None:
        return {}
    shapes = {name: SHAPES[name] for name in SHIPPED[spec.scheme.bits, run] if _fits(SHAPES[name], spec)}
    return {
        name: _choice(shape, run, rows, spec)
        for name, shape in shapes.items()
        if isinstance(shape, ManyRows) or rows <= shape.rows
    }


def nearest(spec: LayerSpec) -> Measured:
    """Return the measured layer of a layer's bits whose sides are nearest by their ratios."""
    return min(
        (each for each in measured() if each.bits == spec.scheme.bits),
        key=lambda each: (
            abs(math.log(each.out_features / spec.out_features)) + abs(math.log(each.in_features / spec.in_features))
        ),
    )


@functools.cache
def measured() -> tuple[Measured, ...]:
    """Return the table."""
    entries = json.loads(TABLE.read_text(encoding="utf-8"))["measured"]
    return tuple(
        Measured(**{**entry, "up_to_rows": tuple((rows, name) for rows, name in entry["up_to_rows"])})
        for entry in entries
    )


def _name(rows: int, layer: Measured) -> str:
    return next((name for up_to, name in layer.up_to_rows if rows <= up_to), layer.up_to_rows[-1][1])


def _fits(shape: Shape, spec: LayerSpec) -> bool:
    return isinstance(shape, ManyRows) or tiles_in(spec) <= shape.turns * shape.warps


def _choice(shape: Shape, run: int, rows: int, spec: LayerSpec) -> Choice:
    return Choice(shape, run, _share(shape, rows, spec) if isinstance(shape, ManyRows) else tiles_in(spec))


def _smallest(names: tuple[str, ...], rows: int) -> Shape:
    """Return the smallest shape that takes all rows at once, or else the largest."""
    shapes = sorted((SHAPES[name] for name in names), key=lambda shape: (shape.rows, shape.columns))
    return next((shape for shape in shapes if rows <= shape.rows), shapes[-1])


def _run(spec: LayerSpec) -> int | None:
    """Return the longest run that is compiled and fits a layer's groups."""
    runs = [run for bits, run in SHIPPED if bits == spec.scheme.bits and run_of(spec) % run == 0]
    return max(runs, default=None)


def _share(shape: ManyRows, rows: int, spec: LayerSpec) -> int:
    """Cut the inputs of layers that are too small to keep every multiprocessor busy."""
    tiles, blocks = tiles_in(spec), -(-rows // shape.rows) * -(-spec.out_features // shape.columns)
    programs = MULTIPROCESSORS * (2 if shape.rows <= 32 else 1)
    bytes_of_part = 2 * 4 * shape.rows * shape.columns
    splits = min(
        MAX_SPLITS,
        tiles // MIN_TILES_IN_SPLIT,
        programs // blocks,
        MAX_BLOCKS_TO_SPLIT // (blocks * shape.parts),
        WORKSPACE_BYTES // (blocks * bytes_of_part),
    )
    return -(-tiles // max(1, splits))
