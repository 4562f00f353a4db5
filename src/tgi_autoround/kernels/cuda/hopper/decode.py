"""The product for few rows: weights stream from memory, and every multiprocessor is busy once.

A block computes BLOCKS * 16 output features, its warps each every WARPS-th tile of the input features. Each warp
copies UNROLL tiles ahead of weights and activations into shared memory of its own, and asks for the next as soon as it
has read one into registers: no barrier but those before the first and after the last tile. Codes are multiplied as
they are; what `offset + zero point` adds is taken off by the sum of the activations, and scales multiply each group's
sum.

The inner parts are PTX (`ptx.py`): the compiler would put loads, and waits for them, where nothing overlaps.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

STAGED_AT_ONCE = gl.constexpr(4)


@gluon.constexpr_function
def _of_sums(runs, words_of_x):
    return (*["=&f"] * runs, *["r"] * words_of_x)


@gluon.constexpr_function
def _of_products(words_of_x, runs):
    return ("=&f", *["r"] * (8 + words_of_x), "f", *["r"] * runs, *["f"] * runs)


@gluon.constexpr_function
def _words_of_threads(warps, count):
    """Words of which only threads know what they are."""
    layout = gl.BlockedLayout([1], [32], [warps], [0])
    return [gl.distributed_type(gl.int32, [32 * warps], layout)] * count


@gluon.constexpr_function
def _repeated(each, count, *after):
    return (*[each] * count, *after)


@gluon.constexpr_function
def _text_of(texts, index):
    return texts.split("\f")[index]


@gluon.constexpr_function
def _bits_below(size):
    return [1 << bit for bit in range(size.bit_length() - 1)]


@gluon.constexpr_function
def _layout_of_parts(warps, columns, rows):
    """Every thread adds up the warps' parts of its results; neighbours hold neighbouring output features."""
    free = [[0, each, 0] for each in _bits_below(columns)] + [[0, 0, each] for each in _bits_below(rows)]
    in_threads = 5 + warps.bit_length() - 1
    threads = free[:in_threads] + [[0, 0, 0]] * (in_threads - len(free))
    return gl.DistributedLinearLayout(
        reg_bases=[[each, 0, 0] for each in _bits_below(warps)] + free[in_threads:],
        lane_bases=threads[:5],
        warp_bases=threads[5:],
        block_bases=[],
        shape=[warps, columns, rows],
    )


@gluon.jit
def _stage(
    scales,
    zero_points,
    staged,
    first_column,
    rows_to_stage,
    has_zero_points,
    out_features,
    group_shift,
    features,
    BITS: gl.constexpr,
    RUN: gl.constexpr,
    WARPS: gl.constexpr,
    COLUMNS: gl.constexpr,
):
    """Fill `staged` [.., WARPS, COLUMNS] with each run's scale and, in the high half, minus its zero point, as float16.

    A row holds the same run of WARPS tiles in sequence; runs past the end have scale 0.
    """
    RUNS: gl.constexpr = 16 // BITS // (RUN // 32)
    layout: gl.constexpr = gl.BlockedLayout([1, 1], [1, 32], [WARPS, 1], [1, 0])
    column = (first_column + gl.arange(0, COLUMNS, layout=gl.SliceLayout(0, layout)))[None, :]
    warp = gl.arange(0, WARPS, layout=gl.SliceLayout(1, layout))[:, None]
    for first in range(0, rows_to_stage, STAGED_AT_ONCE):
        affine = ()
        for index in gl.static_range(STAGED_AT_ONCE):
            row = first + index
            feature = ((row // RUNS * WARPS + warp) * RUNS + row % RUNS) * RUN
            at = (feature >> group_shift) * out_features + column
            inside = (feature < features) & (column < out_features)
            scale = gl.load(scales + at, mask=inside, other=0.0)
            zero = gl.load(zero_points + at, mask=inside & (has_zero_points != 0), other=1 << (BITS - 1))
            affine = affine + ((scale, zero),)
        for index in gl.static_range(STAGED_AT_ONCE):
            low = affine[index][0].to(gl.int16, bitcast=True).to(gl.int32) & 0xFFFF
            high = (-affine[index][1].to(gl.float32)).to(gl.float16).to(gl.int16, bitcast=True).to(gl.int32) << 16
            staged.index(first + index).store(low | high)


@gluon.jit
def multiply_few_rows(
    x,
    lanes,
    scales,
    zero_points,
    bias,
    result,
    rows,
    x_stride_bytes,
    in_features,
    out_features,
    group_shift,
    tiles,
    has_zero_points,
    has_bias,
    FETCH: gl.constexpr,
    READ_WORDS: gl.constexpr,
    READ_ACTIVATIONS: gl.constexpr,
    SUMS: gl.constexpr,
    PRODUCTS: gl.constexpr,
    TILE_BYTES: gl.constexpr,
    BITS: gl.constexpr,
    RUN: gl.constexpr,
    ROWS: gl.constexpr,
    BLOCKS: gl.constexpr,
    WARPS: gl.constexpr,
    UNROLL: gl.constexpr,
    STAGED: gl.constexpr,
):
    """result [rows, out_features] = x [rows, in_features] @ weight + bias, up to ROWS rows. Grid: (blocks of outputs,).

    RUN: every RUN input features of a tile are in one group; a multiple of 32
    STAGED: room for groups, in runs of WARPS tiles
    """
    SLICES: gl.constexpr = 16 // BITS
    COLUMNS: gl.constexpr = 16 * BLOCKS
    RUNS: gl.constexpr = SLICES // (RUN // 32)
    WORDS_OF_X: gl.constexpr = SLICES * ROWS // 2
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[2, 0], warps_per_cta=[WARPS, 1, 1], instr_shape=[1, 16, 8])
    by_row: gl.constexpr = gl.SliceLayout(2, mma)
    by_column: gl.constexpr = gl.distributed_type(gl.float32, [WARPS, ROWS], gl.SliceLayout(1, mma))
    first_column = gl.program_id(0) * COLUMNS
    KILOBYTES: gl.constexpr = (WARPS * UNROLL * TILE_BYTES + 1023) // 1024
    ring = gl.allocate_shared_memory(gl.int32, [KILOBYTES, 256], gl.SwizzledSharedLayout(1, 1, 1, order=[0]))
    source = (tiles, first_column, out_features, rows, x_stride_bytes, in_features * 2, x, lanes)
    for unrolled in gl.static_range(UNROLL):
        for block in gl.static_range(BLOCKS):
            gl.inline_asm(
                _text_of(FETCH, block),
                _repeated("r", 9, "l", "l"),
                (ring, unrolled * TILE_BYTES, unrolled * WARPS) + source,
            )
    turns = gl.cdiv(tiles, WARPS * UNROLL)
    staged = gl.allocate_shared_memory(
        gl.int32, [STAGED, WARPS, COLUMNS], gl.SwizzledSharedLayout(1, 1, 1, order=[1, 0])
    )
    _stage(
        scales,
        zero_points,
        staged,
        first_column,
        turns * UNROLL * RUNS,
        has_zero_points,
        out_features,
        group_shift,
        in_features,
        BITS,
        RUN,
        WARPS,
        COLUMNS,
    )
    totals = ()
    for _ in gl.static_range(BLOCKS):
        totals = totals + (gl.zeros([WARPS, 16, ROWS], gl.float32, mma),)
    gl.barrier()
    for turn in range(turns):
        for unrolled in gl.static_range(UNROLL):
            updated = ()
            for block in gl.static_range(BLOCKS):
                words = gl.inline_asm(
                    READ_WORDS,
                    _repeated("=&r", 8, "r", "r"),
                    (ring, unrolled * TILE_BYTES + block * 1024),
                    _words_of_threads(WARPS, 8),
                )
                if block == 0:
                    activations = gl.inline_asm(
                        READ_ACTIVATIONS,
                        _repeated("=&r", WORDS_OF_X, "r", "r"),
                        (ring, unrolled * TILE_BYTES),
                        _words_of_threads(WARPS, WORDS_OF_X),
                    )
                    sums = gl.inline_asm(
                        SUMS, _of_sums(RUNS, WORDS_OF_X), activations, _repeated(by_column, RUNS), is_pure=True
                    )
                next_tile = ((turn + 1) * UNROLL + unrolled) * WARPS
                gl.inline_asm(
                    _text_of(FETCH, block),
                    _repeated("r", 9, "l", "l"),
                    (ring, unrolled * TILE_BYTES, next_tile) + source,
                )
                affine = ()
                for run in gl.static_range(RUNS):
                    row = staged.index((turn * UNROLL + unrolled) * RUNS + run)
                    affine = affine + (row.slice(block * 16, 16, dim=1).load(by_row),)
                total = totals[block]
                updated = updated + (
                    gl.inline_asm(
                        PRODUCTS,
                        _of_products(WORDS_OF_X, RUNS),
                        words + activations + (total,) + affine + sums,
                        total.type,
                        is_pure=True,
                    ),
                )
            totals = updated
    gl.inline_asm("cp.async.wait_group 0;")
    gl.barrier()
    shared_by_column: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, order=[1, 2, 0])
    parts = gl.allocate_shared_memory(gl.float32, [WARPS, COLUMNS, ROWS], shared_by_column)
    for block in gl.static_range(BLOCKS):
        parts.slice(block * 16, 16, dim=1).store(totals[block])
    gl.barrier()
    by_part: gl.constexpr = _layout_of_parts(WARPS, COLUMNS, ROWS)
    total = gl.sum(parts.load(by_part), 0)
    of_total: gl.constexpr = gl.SliceLayout(0, by_part)
    column = first_column + gl.arange(0, COLUMNS, layout=gl.SliceLayout(1, of_total))
    row = gl.arange(0, ROWS, layout=gl.SliceLayout(0, of_total))
    bias_of_column = gl.load(bias + column, mask=(column < out_features) & (has_bias != 0), other=0.0)
    total += bias_of_column.to(gl.float32)[:, None]
    inside = (column < out_features)[:, None] & (row < rows)[None, :]
    gl.store(result + row[None, :] * out_features + column[:, None], total.to(result.dtype.element_ty), mask=inside)
