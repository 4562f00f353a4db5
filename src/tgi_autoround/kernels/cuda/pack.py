"""The packed layout made on the GPU from a layer's codes, in one pass over them."""

import triton
import triton.language as tl

from tgi_autoround.kernels.cuda.codes import LANES


@triton.jit(do_not_specialize=["in_features"])
def pack_codes(codes, lanes, in_features, out_features, BITS: tl.constexpr, COLUMNS: tl.constexpr):
    """lanes [tiles, out_features, 32] = codes uint8 [in_features, out_features]. Grid: (tiles, blocks of COLUMNS)."""
    SLICES: tl.constexpr = 16 // BITS
    position = tl.arange(0, LANES)
    lane = position // 2 % 4 * 8 + position // 8 * 2 + position % 2  # see layout.py
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (column < out_features)[None, :]
    packed = tl.zeros((LANES, COLUMNS), tl.int16)
    for index in tl.static_range(SLICES):
        feature = ((tl.program_id(0) * SLICES + index) * LANES + lane)[:, None]
        at = feature.to(tl.int64) * out_features + column[None, :]
        code = tl.load(codes + at, mask=(feature < in_features) & inside, other=0)
        packed |= code.to(tl.int16) << (index * BITS)
    row = tl.program_id(0).to(tl.int64) * out_features + column
    tl.store(lanes + row[:, None] * LANES + position[None, :], packed.T, mask=(column < out_features)[:, None])
