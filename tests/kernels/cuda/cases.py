"""The layers that are multiplied in triton's interpreter: every width, both kinds, every way that groups may lie."""

import itertools
from dataclasses import dataclass

BITS = (2, 3, 4, 5, 8)
SHAPES = (
    (256, 24, 32),
    (320, 24, -1),
    (352, 32, 128),
    (192, 40, 64),
    (96, 24, 8),
    (120, 24, 12),
    (330, 5, 110),
)
"""in_features, out_features, group_size: short last groups, sub-groups, and neither side a multiple of a tile."""


@dataclass(frozen=True)
class Case:
    bits: int
    sym: bool
    shape: tuple[int, int, int]
    dtype: str
    rows: int

    @property
    def bias(self) -> bool:
        return self.rows > 1

    def __str__(self) -> str:
        kind = "sym" if self.sym else "asym"
        return f"W{self.bits} {kind} {'x'.join(map(str, self.shape))} {self.dtype} {self.rows} rows"


CASES = [
    Case(bits, sym, shape, *((("float16", 20), ("float16", 1), ("bfloat16", 7))[(number + bits) % 3]))
    for bits, sym in itertools.product(BITS, (True, False))
    for number, shape in enumerate(SHAPES[:2] if bits == 5 else SHAPES)
]
