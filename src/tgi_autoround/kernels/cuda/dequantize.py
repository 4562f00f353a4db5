"""Packed weights as a 16-bit matrix in memory, for products so tall that dequantizing once is the smaller part."""

import triton
import triton.language as tl

from tgi_autoround.kernels.cuda.codes import LANES, group_of, load_tile, load_zero, lowest_codes


@triton.jit(do_not_specialize=["first_row", "rows", "group_size", "groups"])
def dequantize_packed(
    lanes,
    scales,
    zero_points,
    result,
    first_row,
    rows,
    in_features,
    out_features,
    group_size,
    groups,
    symmetric,
    BITS: tl.constexpr,
    SCATTERED: tl.constexpr,
    ROWS: tl.constexpr,
):
    """result [rows, in_features] = the weights of output features `first_row` and on. Grid: (tiles, blocks of ROWS)."""
    tile = tl.program_id(0)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    weight_row = first_row + tl.minimum(row, rows - 1)
    codes_left = load_tile(lanes, tile, weight_row, out_features, ROWS)
    for index in tl.static_range(16 // BITS):
        first_feature = (tile * (16 // BITS) + index) * LANES
        at = group_of(first_feature, group_size, groups, SCATTERED) * out_features + weight_row[:, None]
        codes, codes_left = lowest_codes(codes_left, load_zero(zero_points, at, symmetric, BITS), BITS)
        weights = codes * tl.load(scales + at).to(tl.float32)
        feature = first_feature + tl.arange(0, LANES)[None, :]
        to = result + row[:, None].to(tl.int64) * in_features + feature
        tl.store(to, weights.to(result.dtype.element_ty), mask=(row < rows)[:, None] & (feature < in_features))
