"""How a product is computed: a pure function of its shape and of the device's size."""

import functools
from dataclasses import dataclass

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.kernels.cuda.layout import LANES_IN_TILE, features_in_tile

MAX_ROWS = 256
"""Above, weights are dequantized into the workspace, and the vendor's library multiplies: faster on an H100."""

WORKSPACE_BYTES = 128 * 2**20
"""Space for partial sums of products that are split along the input features, or for dequantized weights."""

MAX_BLOCKS_TO_SPLIT = 1024
MAX_SPLITS = 16
MIN_FEATURES_IN_SPLIT = 512
_COLUMNS_OF_PARTS = 64


@dataclass(frozen=True, slots=True)
class Device:
    """What of a GPU matters here: how many blocks run at once, and the shared memory that one may take."""

    multiprocessors: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """A block of `warps` warps computes `rows` x `columns` results; tiles are loaded `stages - 1` ahead.

    splits: into how many parts the input features are cut, each a block's, for layers too small to fill the device
    """

    rows: int
    columns: int
    warps: int
    stages: int
    splits: int


@dataclass(frozen=True, slots=True)
class Shape:
    """A block's size, and how many of them a multiprocessor runs at once."""

    rows: int
    columns: int
    warps: int
    blocks_a_multiprocessor: int


SHAPE_UP_TO_ROWS = {16: Shape(16, 64, 4, 7), 32: Shape(32, 64, 4, 4), MAX_ROWS: Shape(64, 128, 8, 2)}
"""Best of what was timed on an H100 with 4 bits in groups of 128, on the linears of an 8B Llama."""


@functools.lru_cache(maxsize=2**14)
def choose(rows: int, spec: LayerSpec, device: Device) -> Configuration:
    """Return the configuration for activations [rows, in_features], `rows` up to MAX_ROWS."""
    shape = next(shape for up_to, shape in SHAPE_UP_TO_ROWS.items() if rows <= up_to)
    stages = stages_of(shape, spec.scheme.bits, device.shared_bytes)
    blocks = -(-rows // shape.rows) * -(-spec.out_features // shape.columns)
    splits = _splits(blocks, spec.in_features // MIN_FEATURES_IN_SPLIT, shape, device)
    return Configuration(shape.rows, shape.columns, shape.warps, stages, splits)


def stages_of(shape: Shape, bits: int, shared_bytes: int) -> int:
    """Return how many tiles of activations and weights are in flight: up to three, as shared memory allows."""
    tile_bytes = 2 * (shape.rows * features_in_tile(bits) + shape.columns * LANES_IN_TILE)
    return max(1, min(3, shared_bytes // tile_bytes))


def all_of(spec: LayerSpec, device: Device) -> set[Configuration]:
    """Return the configurations of every power of two of rows: all that differ in more than the number of splits."""
    return {choose(1 << exponent, spec, device) for exponent in range(MAX_ROWS.bit_length())}


def columns_at_a_time(spec: LayerSpec) -> int:
    """Return how many output features are dequantized into the workspace at once: equal parts of whole blocks."""
    that_fit = WORKSPACE_BYTES // (2 * spec.in_features * _COLUMNS_OF_PARTS) * _COLUMNS_OF_PARTS
    parts = -(-spec.out_features // that_fit)
    return -(-spec.out_features // (parts * _COLUMNS_OF_PARTS)) * _COLUMNS_OF_PARTS


def _splits(blocks: int, parts: int, shape: Shape, device: Device) -> int:
    if blocks > MAX_BLOCKS_TO_SPLIT:
        return 1
    to_fill_the_device = shape.blocks_a_multiprocessor * device.multiprocessors // blocks
    that_fit = WORKSPACE_BYTES // (4 * blocks * shape.rows * shape.columns)
    return max(1, min(to_fill_the_device, parts, MAX_SPLITS, that_fit))
