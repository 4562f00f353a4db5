"""The product of 16-bit activations and packed weights, summed in float32. Compiles on triton 3.3 and later.

A block dequantizes a tile of weights in registers, which are the tensor cores' left operand as they are: the result
is computed transposed. Where groups are whole slices of 32 input features, weights stay integers in the tensor cores
and each group's sum is scaled in float32; weights of other groups are scaled before, and rounded.
"""

import triton
import triton.language as tl

from tgi_autoround.kernels.cuda.codes import (
    LANES,
    group_of,
    load_tile,
    load_zero,
    lowest_codes,
    lowest_codes_in_pairs,
)

BLOCKS_IN_BAND = tl.constexpr(8)
"""Row blocks that pass over the weights together, so that both operands are found in the L2 cache."""


@triton.jit
def _block_of(program, row_blocks, column_blocks):
    """Return the row and the column of a program's block."""
    band = program // (BLOCKS_IN_BAND * column_blocks)
    in_band = program % (BLOCKS_IN_BAND * column_blocks)
    height = tl.minimum(row_blocks - band * BLOCKS_IN_BAND, BLOCKS_IN_BAND)
    return band * BLOCKS_IN_BAND + in_band % height, in_band // height


@triton.jit
def _add_up(part, partial_sums, arrivals, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return the sum of a block's splits, and whether this is the last to arrive, which alone knows it."""
    block, split, splits = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    offsets = tl.arange(0, COLUMNS)[:, None] * ROWS + tl.arange(0, ROWS)[None, :]
    of_block = partial_sums + block * splits * ROWS * COLUMNS + offsets
    tl.store(of_block + split * ROWS * COLUMNS, part)
    tl.debug_barrier()
    is_last = tl.atomic_add(arrivals + block, 1, sem="acq_rel", scope="gpu") == splits - 1
    total = tl.zeros_like(part)
    if is_last:
        tl.store(arrivals + block, 0)
        for other in range(splits):
            total += tl.load(of_block + other * ROWS * COLUMNS, cache_modifier=".cg")
    return total, is_last


@triton.jit(do_not_specialize=["rows", "group_size", "groups", "tiles", "tiles_in_split", "biased"])
def multiply_packed(
    x,
    lanes,
    scales,
    zero_points,
    bias,
    result,
    partial_sums,
    arrivals,
    rows,
    x_stride,
    in_features,
    out_features,
    group_size,
    groups,
    tiles,
    tiles_in_split,
    symmetric,
    biased,
    BITS: tl.constexpr,
    RUN: tl.constexpr,
    SCATTERED: tl.constexpr,
    IN_WHOLE_TILES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INSTRUCTIONS: tl.constexpr,
    OFFSET: tl.constexpr,
    IN_FLOAT32: tl.constexpr,
):
    """result [rows, out_features] = x [rows, in_features] @ weight + bias. Grid: (blocks, splits).

    symmetric, biased: 1 or 0; without zero points or a bias, their addresses are not read
    RUN: every RUN input features of a tile are in one group; a multiple of LANES
    SCATTERED: they are not, as groups begin or end within a slice of LANES
    INSTRUCTIONS, OFFSET: see `instructions.py`
    IN_FLOAT32: multiply in float32 where there are no tensor cores, in triton's interpreter; else in x's type
    """
    OPERAND: tl.constexpr = tl.float32 if IN_FLOAT32 else x.dtype.element_ty
    SLICES: tl.constexpr = 16 // BITS
    row_block, column_block = _block_of(tl.program_id(0), tl.cdiv(rows, ROWS), tl.cdiv(out_features, COLUMNS))
    row, column = row_block * ROWS + tl.arange(0, ROWS), column_block * COLUMNS + tl.arange(0, COLUMNS)
    # Rows and columns past the end repeat the last one, are computed, and not stored.
    x_rows = x + tl.minimum(row, rows - 1)[:, None].to(tl.int64) * x_stride
    weight_row = tl.minimum(column, out_features - 1)
    total = tl.zeros((COLUMNS, ROWS), tl.float32)
    first = tl.program_id(1) * tiles_in_split
    for tile in range(first, tl.minimum(first + tiles_in_split, tiles)):
        codes_left = load_tile(lanes, tile, weight_row, out_features, COLUMNS)
        run_sum = tl.zeros((COLUMNS, ROWS), tl.float32)
        for index in tl.static_range(SLICES):
            first_feature = (tile * SLICES + index) * LANES
            if index * LANES % RUN == 0:
                group = group_of(first_feature, group_size, groups, SCATTERED)
                at = group * out_features + weight_row[:, None]
                scale = tl.load(scales + at).to(tl.float32)
                zero = load_zero(zero_points, at, symmetric, BITS)
            feature = first_feature + tl.arange(0, LANES)[None, :]
            if IN_WHOLE_TILES:
                activations = tl.load(x_rows + feature)
            else:
                activations = tl.load(x_rows + feature, mask=feature < in_features, other=0.0)
            right = activations.to(OPERAND).T
            if SCATTERED:
                codes, codes_left = lowest_codes(codes_left, zero, BITS)
                total = tl.dot((codes * scale).to(OPERAND), right, total)
            else:
                if INSTRUCTIONS is None:
                    codes, codes_left = lowest_codes(codes_left, zero, BITS)
                else:
                    minus_zero = (-(zero + OFFSET)).to(OPERAND)
                    codes, codes_left = lowest_codes_in_pairs(codes_left, minus_zero, INSTRUCTIONS, OPERAND)
                run_sum = tl.dot(codes.to(OPERAND), right, run_sum)
                if (index + 1) * LANES % RUN == 0:
                    total += run_sum * scale
                    run_sum = tl.zeros((COLUMNS, ROWS), tl.float32)
    rows_to_store = rows
    if tl.num_programs(1) > 1:
        total, is_last = _add_up(total, partial_sums, arrivals, ROWS, COLUMNS)
        rows_to_store = tl.where(is_last, rows, 0)
    total += tl.load(bias + weight_row, mask=column < biased * out_features, other=0.0).to(tl.float32)[:, None]
    at = result + row[:, None].to(tl.int64) * out_features + column[None, :]
    mask = (row < rows_to_store)[:, None] & (column < out_features)[None, :]
    tl.store(at, total.to(x.dtype.element_ty).T, mask=mask)
