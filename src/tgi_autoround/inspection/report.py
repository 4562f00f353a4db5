"""What an inspection finds, as data: `--json` prints it, `table.py` draws it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """What one of several devices holds of a layer: a part of its outputs (column) or of its inputs (row).

    `cuts_groups`: the boundaries lie inside groups, so that `group_size` is the size of the sub-groups made of them.
    """

    direction: str
    in_features: int
    out_features: int
    group_size: int
    cuts_groups: bool


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Layers of the same name but for block numbers, and of the same scheme and shape.

    packed_bytes: of their tensors in the files, without bias
    memory_bytes: of all of them on one device
    passed_over: kernels that come before `kernel`, and why they do not take the layer
    """

    pattern: str
    layers: int
    bits: int
    group_size: int
    sym: bool
    packing: str
    in_features: int
    out_features: int
    bias: bool
    files: tuple[str, ...]
    packed_bytes: int
    kernel: str
    passed_over: Mapping[str, str]
    memory_bytes: int
    shard: Shard | None


@dataclass(frozen=True, slots=True)
class Report:
    """An inspection's result. `memory_bytes` is one device's: the kernels' buffers and the plain tensors in `dtype`.

    bits_per_weight: of the quantized layers on disk, scales and zero points included; None where there are none.
    """

    model: str
    device: str
    dtype: str
    tp: int
    layers: tuple[LayerGroup, ...]
    plain_tensors: int
    plain_memory_bytes: int
    disk_bytes: int
    memory_bytes: int
    bits_per_weight: float | None
    problems: tuple[str, ...]
