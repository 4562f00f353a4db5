"""Device functions that read the packed layout: a tile's lanes, their codes, and a group's scale and zero point."""

import triton
import triton.language as tl

LANES = tl.constexpr(32)


@triton.jit
def load_tile(lanes, tile, weight_row, out_features, ROWS: tl.constexpr):
    """Return the lanes [ROWS, LANES] of a tile, undoing the order that they are stored in without moving them."""
    at = (tile * out_features + weight_row[:, None]).to(tl.int64) * LANES + tl.arange(0, LANES)[None, :]
    by_thread = tl.reshape(tl.load(lanes + at), (ROWS, 4, 4, 2))
    return tl.reshape(tl.permute(by_thread, (0, 2, 1, 3)), (ROWS, LANES))


@triton.jit
def group_of(feature, group_size, groups, SCATTERED: tl.constexpr):
    """Return the group of a slice that begins at `feature`, or of each of its features, [1, LANES]."""
    if SCATTERED:
        feature = (feature + tl.arange(0, LANES))[None, :]
    return tl.minimum(feature // group_size, groups - 1)


@triton.jit
def load_zero(zero_points, at, symmetric, BITS: tl.constexpr):
    """Return zero points as float32: those of a symmetric layer are all in the middle and not in memory."""
    return tl.load(zero_points + at, mask=tl.zeros_like(at) == symmetric, other=1 << (BITS - 1)).to(tl.float32)


@triton.jit
def lowest_codes(lanes, zero, BITS: tl.constexpr):
    """Return the lowest code of each lane minus its zero point in float32, and the lanes without those codes.

    Codes become numbers as the last bits of 2**23's mantissa, which are worth 1: conversions take more time.
    """
    bits_of_two_to_the_23: tl.constexpr = 0x4B000000
    numbers = ((lanes & ((1 << BITS) - 1)).to(tl.int32) | bits_of_two_to_the_23).to(tl.float32, bitcast=True)
    return numbers - (zero + 8388608.0), lanes >> BITS


@triton.jit
def lowest_codes_in_pairs(lanes, zero, INSTRUCTIONS: tl.constexpr, TYPE: tl.constexpr):
    """The same in TYPE, two lanes at a time, by `launch.instructions`, which say what `zero` is."""
    codes, rest = tl.inline_asm_elementwise(
        INSTRUCTIONS, "=r,=r,r,r", [lanes, zero], dtype=(tl.int16, tl.int16), is_pure=True, pack=2
    )
    return codes.to(TYPE, bitcast=True), rest
