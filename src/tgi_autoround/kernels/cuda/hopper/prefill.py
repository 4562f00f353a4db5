"""The product for many rows, on Hopper's asynchronous tensor cores. Computes the result transposed.

Blocks walk over equal shares of all tiles of all blocks of results, in sequence, so that none is idle at the end. The
copy engine fills a ring of activations in shared memory; weights go to registers as they lie in memory, and those of
the next tile are dequantized while the tensor cores multiply this one's. Parts of a result that several blocks have
computed are added up by the last of them to arrive, in a fixed order.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

WAIT = gl.constexpr("""{ .reg .pred passed;
again: mbarrier.try_wait.parity.shared.b64 passed, [$0], $1;
@!passed bra again; }""")
ARRIVE = gl.constexpr("""{ .reg .pred first; .reg .b32 lane; bar.warp.sync 0xffffffff;
mov.u32 lane, %laneid; setp.eq.u32 first, lane, 0; @first mbarrier.arrive.shared.b64 _, [$0]; }""")
"""As PTX, because the compiler puts a barrier of all the warpgroup's threads around its own."""

WAIT = gl.constexpr("""{ .reg .pred passed;
again: mbarrier.try_wait.parity.shared.b64 passed, [$0], $1;
@!passed bra again; }""")
ARRIVE = gl.constexpr("""{ .reg .pred first; .reg .b32 lane; bar.warp.sync 0xffffffff;
mov.u32 lane, %laneid; setp.eq.u32 first, lane, 0; @first mbarrier.arrive.shared.b64 _, [$0]; }""")
"""As PTX, because the compiler puts a barrier of all the warpgroup's threads around its own."""

ROW_BLOCKS_IN_BAND = gl.constexpr(8)
"""Row blocks that pass over the weights together, so that both operands are found in the L2 cache."""


@gluon.constexpr_function
def _layout_of_words():
    """64 rows of 16 words: a thread reads words 4t .. 4t+3 of rows g and g + 8 of its warp's 16."""
    return gl.DistributedLinearLayout(
        reg_bases=[[1], [2], [128]],
        lane_bases=[[each] for each in (4, 8, 16, 32, 64)],
        warp_bases=[[256], [512]],
        block_bases=[],
        shape=[1024],
    )


@gluon.constexpr_function
def _constraints(words):
    return ("=&r", "r", *["r"] * words)


@gluon.constexpr_function
def _type_of_pairs(chunk):
    """Two weights a word, in the order of the left operand's registers, where only threads know which they are."""
    registers, size = chunk // 4, 64 * chunk // 2
    bits = [1 << bit for bit in range(size.bit_length() - 1)]
    in_registers = registers.bit_length() - 1
    layout = gl.DistributedLinearLayout(
        reg_bases=[[each] for each in bits[:in_registers]],
        lane_bases=[[each] for each in bits[in_registers : in_registers + 5]],
        warp_bases=[[each] for each in bits[in_registers + 5 :]],
        block_bases=[],
        shape=[size],
    )
    return gl.distributed_type(gl.int32, [size], layout)


@gluon.constexpr_function
def _type_of_operand(dtype, chunk, layout):
    return gl.distributed_type(dtype, [64, chunk], layout)


@gluon.constexpr_function
def _text_of(texts, chunk):
    return texts.split("\f")[chunk]


@gluon.jit
def _block_at(index, row_blocks, column_blocks):
    """Return the row and the column of the index-th block."""
    band = index // (ROW_BLOCKS_IN_BAND * column_blocks)
    in_band = index % (ROW_BLOCKS_IN_BAND * column_blocks)
    height = gl.minimum(row_blocks - band * ROW_BLOCKS_IN_BAND, ROW_BLOCKS_IN_BAND)
    return band * ROW_BLOCKS_IN_BAND + in_band % height, in_band // height


@gluon.jit
def _next(tile, band, row_block, column_block, tiles, row_blocks, column_blocks):
    """Return the tile after this, of the same block or the next: rows in a band, columns, bands. No divisions."""
    tile += 1
    ends_block = tile == tiles
    tile = gl.where(ends_block, 0, tile)
    row_block += ends_block.to(gl.int32)
    ends_rows = row_block == gl.minimum(band + ROW_BLOCKS_IN_BAND, row_blocks)
    column_block += ends_rows.to(gl.int32)
    ends_band = column_block == column_blocks
    band = gl.where(ends_band, band + ROW_BLOCKS_IN_BAND, band)
    row_block = gl.where(ends_rows, band, row_block)
    column_block = gl.where(ends_band, 0, column_block)
    return tile, band, row_block, column_block


@gluon.jit
def _read(
    words,
    scales,
    zero_points,
    slot,
    part,
    has_zero_points,
    AFFINE: gl.constexpr,
    BITS: gl.constexpr,
    RUNS: gl.constexpr,
    PARTS: gl.constexpr,
    by_row: gl.constexpr,
):
    """Return a tile's words, and for each run what they are dequantized with, out of the ring's slot-th place."""
    flat: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, order=[0])
    of_part = words.index(slot).reinterpret(gl.int32, [PARTS * 1024], flat).slice(part * 1024, 1024)
    result = (of_part.load(_layout_of_words()),)
    for run in gl.static_range(RUNS):
        of_run = scales.index(slot * RUNS + run).reinterpret(gl.float16, [128], flat)
        scale = of_run.slice(part * 64, 64).load(by_row).to(gl.float32)
        of_run = zero_points.index(slot * RUNS + run).reinterpret(zero_points.dtype, [128], flat)
        zero = of_run.slice(part * 64, 64).load(by_row).to(gl.int32)
        zero = gl.where(has_zero_points != 0, zero, 1 << (BITS - 1))
        result = result + gl.inline_asm(
            AFFINE, ("=&r", "=&r", "=&r", "r", "f"), [zero, scale], [zero.type, zero.type, zero.type], is_pure=True
        )
    return result


@gluon.jit
def _dequantize(
    words,
    scales,
    zero_points,
    slot,
    part,
    has_zero_points,
    AFFINE: gl.constexpr,
    WEIGHTS: gl.constexpr,
    BITS: gl.constexpr,
    RUNS: gl.constexpr,
    CHUNK: gl.constexpr,
    PARTS: gl.constexpr,
    by_row: gl.constexpr,
):
    """Return the weights of a tile's chunks, each [64, CHUNK], two a word."""
    packed = _read(words, scales, zero_points, slot, part, has_zero_points, AFFINE, BITS, RUNS, PARTS, by_row)
    weights = ()
    for chunk in gl.static_range(16 // BITS * 32 // CHUNK):
        weights = weights + (
            gl.inline_asm(
                _text_of(WEIGHTS, chunk), _constraints(3 * RUNS), packed, _type_of_pairs(CHUNK), is_pure=True
            ),
        )
    return weights


@gluon.jit
def _add_up(
    total,
    partial_sums,
    arrivals,
    block,
    part,
    tiles,
    share,
    ROWS: gl.constexpr,
    PARTS: gl.constexpr,
    layout: gl.constexpr,
):
    """Return the sum of what programs have of a block's part, and whether this is the last, which alone knows it."""
    program = gl.program_id(0)
    first = block * tiles // share
    last = (block * tiles + tiles - 1) // share
    offsets = gl.arange(0, 64, layout=gl.SliceLayout(1, layout))[:, None] * ROWS
    offsets = offsets + gl.arange(0, ROWS, layout=gl.SliceLayout(0, layout))[None, :]
    is_last = first == last
    if first != last:
        at = ((program * 2 + (program == first).to(gl.int32)) * PARTS + part) * (64 * ROWS)
        gl.store(partial_sums + at + offsets, total)
        gl.barrier()
        arrival = arrivals + first * PARTS + part
        is_last = gl.atomic_add(arrival, 1, sem="acq_rel", scope="gpu") == last - first
        if is_last:
            gl.store(arrival, 0)
            total = gl.zeros([64, ROWS], gl.float32, layout)
            for other in range(first, last + 1):
                at = ((other * 2 + (other == first).to(gl.int32)) * PARTS + part) * (64 * ROWS)
                total += gl.load(partial_sums + at + offsets, cache_modifier=".cg")
    return total, is_last


@gluon.jit
def _produce(
    sources,
    rings,
    full,
    empty,
    cursor,
    count,
    sizes,
    BITS: gl.constexpr,
    RUN: gl.constexpr,
    CHUNK: gl.constexpr,
    ROWS: gl.constexpr,
    PARTS: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Copy one tile after the other of activations and weights into the ring, as its places become free."""
    x, lanes, scales, zero_points = sources
    xs, words, scale_ring, zero_ring = rings
    _, out_features, group_shift, tiles, row_blocks, column_blocks = sizes
    FEATURES: gl.constexpr = 16 // BITS * 32
    CHUNKS: gl.constexpr = FEATURES // CHUNK
    RUNS: gl.constexpr = FEATURES // RUN
    COLUMNS: gl.constexpr = PARTS * 64
    ZERO_BYTES: gl.constexpr = zero_points.dtype.primitive_bitwidth // 8
    EXPECTED: gl.constexpr = FEATURES * ROWS * 2 + COLUMNS * 64 + RUNS * 128 * (2 + ZERO_BYTES)
    tile, band, row_block, column_block = cursor
    slot = 0
    phase = 1
    for _ in range(count):
        mbarrier.wait(empty.index(slot), phase)
        arrived = full.index(slot)
        mbarrier.expect(arrived, EXPECTED)
        column = column_block * COLUMNS
        tma.async_load(lanes, [tile * out_features + column, 0], arrived, words.index(slot))
        for run in gl.static_range(RUNS):
            group = (tile * FEATURES + run * RUN) >> group_shift
            tma.async_load(scales, [group, column], arrived, scale_ring.index(slot * RUNS + run))
            tma.async_load(zero_points, [group, column], arrived, zero_ring.index(slot * RUNS + run))
        for chunk in gl.static_range(CHUNKS):
            feature = (tile * CHUNKS + chunk) * CHUNK
            tma.async_load(x, [row_block * ROWS, feature], arrived, xs.index(slot * CHUNKS + chunk))
        tile, band, row_block, column_block = _next(
            tile, band, row_block, column_block, tiles, row_blocks, column_blocks
        )
        phase = gl.where(slot == STAGES - 1, phase ^ 1, phase)
        slot = gl.where(slot == STAGES - 1, 0, slot + 1)


@gluon.jit
def _consume(
    part,
    outputs,
    rings,
    full,
    empty,
    turns,
    tile,
    first,
    count,
    share,
    sizes,
    flags,
    AFFINE: gl.constexpr,
    HALVES: gl.constexpr,
    WEIGHTS: gl.constexpr,
    BITS: gl.constexpr,
    RUN: gl.constexpr,
    CHUNK: gl.constexpr,
    ROWS: gl.constexpr,
    PARTS: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Multiply the weights of a block's 64 columns, the part-th of PARTS, by the activations in the ring."""
    bias, result, partial_sums, arrivals = outputs
    xs, words, scales, zero_points = rings
    rows, out_features, _, tiles, row_blocks, column_blocks = sizes
    has_zero_points, has_bias = flags
    dtype: gl.constexpr = xs.dtype
    CHUNKS: gl.constexpr = 16 // BITS * 32 // CHUNK
    RUNS: gl.constexpr = 16 // BITS * 32 // RUN
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, ROWS, 16])
    left: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    by_row: gl.constexpr = gl.SliceLayout(1, mma)
    of_row: gl.constexpr = gl.SliceLayout(1, left)
    of_operand: gl.constexpr = _type_of_operand(dtype, CHUNK, left)
    # The next weights are dequantized while these are multiplied, if registers hold both; else during the other part's.
    OVERLAPPED: gl.constexpr = ROWS < 256
    IN_TURNS: gl.constexpr = PARTS == 2 and not OVERLAPPED
    total = gl.zeros([64, ROWS], gl.float32, mma)
    slot = 0
    phase = 0
    if OVERLAPPED:
        gl.inline_asm(WAIT, ("r", "r"), (full.index(0), 0))
        weights = _dequantize(
            words, scales, zero_points, 0, part, has_zero_points, AFFINE, WEIGHTS, BITS, RUNS, CHUNK, PARTS, of_row
        )
    for index in range(count):
        if not OVERLAPPED:
            gl.inline_asm(WAIT, ("r", "r"), (full.index(slot), phase))
            weights = _dequantize(
                words,
                scales,
                zero_points,
                slot,
                part,
                has_zero_points,
                AFFINE,
                WEIGHTS,
                BITS,
                RUNS,
                CHUNK,
                PARTS,
                of_row,
            )
        if IN_TURNS:
            gl.inline_asm(WAIT, ("r", "r"), (turns.index(part), (index & 1) ^ (1 - part)))
        for chunk in gl.static_range(CHUNKS):
            operand = gl.inline_asm(HALVES, ("=h", "r"), [weights[chunk]], of_operand, is_pure=True)
            right = xs.index(slot * CHUNKS + chunk).permute((1, 0))
            is_added = (tile != 0) & (index != 0) | (chunk > 0)
            total = warpgroup_mma(operand, right, total, use_acc=is_added, is_async=True)
        # After the last tile, the next is this one again.
        has_next = index + 1 < count
        following = gl.where(slot == STAGES - 1, 0, slot + 1)
        next_phase = gl.where(slot == STAGES - 1, phase ^ 1, phase)
        next_slot = gl.where(has_next, following, slot)
        awaited_phase = gl.where(has_next, next_phase, phase)
        if OVERLAPPED:
            gl.inline_asm(WAIT, ("r", "r"), (full.index(next_slot), awaited_phase))
            weights = _dequantize(
                words,
                scales,
                zero_points,
                next_slot,
                part,
                has_zero_points,
                AFFINE,
                WEIGHTS,
                BITS,
                RUNS,
                CHUNK,
                PARTS,
                of_row,
            )
            # Passed already, and here for its branch: ptxas 12.9 sinks the above below the wait for the tensor cores.
            gl.inline_asm(WAIT, ("r", "r"), (full.index(next_slot), awaited_phase))
        if IN_TURNS:
            # The other part begins while the last chunk is multiplied, so that the tensor cores never wait.
            total = warpgroup_mma_wait(1, deps=[total])
            gl.inline_asm(ARRIVE, ("r",), (turns.index(1 - part),))
        total = warpgroup_mma_wait(0, deps=[total])
        gl.inline_asm(ARRIVE, ("r",), (empty.index(slot),))
        slot = following
        phase = next_phase
        if (tile == tiles - 1) | (index == count - 1):
            block = (first + index) // tiles
            total, is_last = _add_up(total, partial_sums, arrivals, block, part, tiles, share, ROWS, PARTS, mma)
            row_of_block, column_of_block = _block_at(block, row_blocks, column_blocks)
            first_column = column_of_block * (PARTS * 64) + part * 64
            biased = first_column + gl.arange(0, 64, layout=by_row)
            added = gl.load(bias + biased, mask=(biased < out_features) & (has_bias != 0), other=0.0)
            by_column: gl.constexpr = gl.BlockedLayout([8, 1], [8, 4], [1, 4], [0, 1])
            rounded = gl.convert_layout((total + added.to(gl.float32)[:, None]).to(dtype), by_column)
            stored = first_column + gl.arange(0, 64, layout=gl.SliceLayout(1, by_column))
            row = row_of_block * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(0, by_column))
            inside = (stored < out_features)[:, None] & (row < rows)[None, :] & is_last
            gl.store(result + row[None, :].to(gl.int64) * out_features + stored[:, None], rounded, mask=inside)
        tile = gl.where(tile == tiles - 1, 0, tile + 1)


@gluon.jit
def multiply_many_rows(
    x,
    lanes,
    scales,
    zero_points,
    bias,
    result,
    partial_sums,
    arrivals,
    rows,
    out_features,
    group_shift,
    tiles,
    share,
    has_zero_points,
    has_bias,
    AFFINE: gl.constexpr,
    HALVES: gl.constexpr,
    WEIGHTS: gl.constexpr,
    BITS: gl.constexpr,
    RUN: gl.constexpr,
    CHUNK: gl.constexpr,
    ROWS: gl.constexpr,
    PARTS: gl.constexpr,
    STAGES: gl.constexpr,
    REGISTERS: gl.constexpr,
):
    """result [rows, out_features] = x [rows, in_features] @ weight + bias. Grid: (shares,).

    x: boxes of [ROWS, CHUNK], swizzled by their width
    lanes: int32 [tiles * out_features, 16] in boxes of [64 * PARTS, 16]
    scales, zero_points: [groups, out_features] in boxes of [1, 128], as places in the ring have to be whole 128 bytes
    share: how many tiles of input features a program multiplies, of all blocks' one after the other
    PARTS: warpgroups that multiply, each 64 output features
    """
    CHUNKS: gl.constexpr = 16 // BITS * 32 // CHUNK
    RUNS: gl.constexpr = 16 // BITS * 32 // RUN
    row_blocks = gl.cdiv(rows, ROWS)
    column_blocks = gl.cdiv(out_features, PARTS * 64)
    first = gl.program_id(0) * share
    count = gl.minimum(row_blocks * column_blocks * tiles - first, share)
    xs = gl.allocate_shared_memory(x.dtype, [STAGES * CHUNKS, ROWS, CHUNK], x.layout)
    words = gl.allocate_shared_memory(gl.int32, [STAGES, PARTS * 64, 16], lanes.layout)
    scale_ring = gl.allocate_shared_memory(gl.float16, [STAGES * RUNS, 1, 128], scales.layout)
    zero_ring = gl.allocate_shared_memory(zero_points.dtype, [STAGES * RUNS, 1, 128], zero_points.layout)
    full = mbarrier.allocate_mbarrier(batch=STAGES)
    empty = mbarrier.allocate_mbarrier(batch=STAGES)
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=1)
        mbarrier.init(empty.index(stage), count=4 * PARTS)
    turns = mbarrier.allocate_mbarrier(batch=2)
    for part in gl.static_range(2):
        mbarrier.init(turns.index(part), count=4)
    fence_async_shared()
    row_block, column_block = _block_at(first // tiles, row_blocks, column_blocks)
    tile = first % tiles
    cursor = (tile, row_block // ROW_BLOCKS_IN_BAND * ROW_BLOCKS_IN_BAND, row_block, column_block)
    sources = (x, lanes, scales, zero_points)
    rings = (xs, words, scale_ring, zero_ring)
    outputs = (bias, result, partial_sums, arrivals)
    sizes = (rows, out_features, group_shift, tiles, row_blocks, column_blocks)
    flags = (has_zero_points, has_bias)
    if PARTS == 1:
        gl.warp_specialize(
            [
                (
                    _consume,
                    (
                        0,
                        outputs,
                        rings,
                        full,
                        empty,
                        turns,
                        tile,
                        first,
                        count,
                        share,
                        sizes,
                        flags,
                        AFFINE,
                        HALVES,
                        WEIGHTS,
                        BITS,
                        RUN,
                        CHUNK,
                        ROWS,
                        PARTS,
                        STAGES,
                    ),
                ),
                (_produce, (sources, rings, full, empty, cursor, count, sizes, BITS, RUN, CHUNK, ROWS, PARTS, STAGES)),
            ],
            [1],
            [24],
        )
    else:
        gl.warp_specialize(
            [
                (
                    _consume,
                    (
                        0,
                        outputs,
                        rings,
                        full,
                        empty,
                        turns,
                        tile,
                        first,
                        count,
                        share,
                        sizes,
                        flags,
                        AFFINE,
                        HALVES,
                        WEIGHTS,
                        BITS,
                        RUN,
                        CHUNK,
                        ROWS,
                        PARTS,
                        STAGES,
                    ),
                ),
                (
                    _consume,
                    (
                        1,
                        outputs,
                        rings,
                        full,
                        empty,
                        turns,
                        tile,
                        first,
                        count,
                        share,
                        sizes,
                        flags,
                        AFFINE,
                        HALVES,
                        WEIGHTS,
                        BITS,
                        RUN,
                        CHUNK,
                        ROWS,
                        PARTS,
                        STAGES,
                    ),
                ),
                (_produce, (sources, rings, full, empty, cursor, count, sizes, BITS, RUN, CHUNK, ROWS, PARTS, STAGES)),
            ],
            [4, 1],
            [REGISTERS, 24],
        )
