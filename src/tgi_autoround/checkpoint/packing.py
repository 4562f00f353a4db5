"""Pack and unpack integer codes: the one place that explains the bit layouts. Pure functions of tensors.

A *stream* is a little-endian bit string laid over blocks of 32 codes: with `b` bits a code, code `i` of a block
occupies bits `[i*b, (i+1)*b)` of `b` consecutive int32 words, so at 3 bits codes 10 and 21 straddle two words:

    bits 3   word 0: c0 c1 ... c9 c10(low 2)   word 1: c10(high 1) c11 ... c20 c21(low 1)   word 2: c21(high 2) ... c31
    bits 4   word 0: c0 ... c7                 word 1: c8 ... c15                           ...

Three packings store a layer with K = in_features, N = out_features and G = ceil(K / group_size) groups:

    packing    qweight (int32)               qzeros (int32)                    zero point
    GPTQ       [K*b/32, N], stream along K   [G, N*b/32], stream along N       stored value + 1
    GPTQ_RAW   [K*b/32, N], stream along K   [G, N*b/32], stream along N       stored value
    AWQ        [K, N/8], nibbles along N     [G, N/8], nibbles along N         stored value

The nibbles of an AWQ word, lowest first, hold columns 0 2 4 6 1 3 5 7 of its eight.
"""

import math

import torch
from torch.nn.functional import pad

CODES_PER_BLOCK = 32
AWQ_COLUMN_OF_NIBBLE = (0, 2, 4, 6, 1, 3, 5, 7)


def unpack_stream(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the codes streamed along dim 0: int32 [R*bits/32, C] -> uint8 [R, C]; a last short block is allowed."""
    return _unpack_whole_bytes(words, bits) if 8 % bits == 0 else _unpack_across_words(words, bits)


def _unpack_whole_bytes(words: torch.Tensor, bits: int) -> torch.Tensor:
    """2, 4 and 8 bits: no code lies across two bytes, and bytes are read without a wider intermediate."""
    codes_per_byte, mask = 8 // bits, (1 << bits) - 1
    rows, columns = words.shape
    in_bytes = words.reshape(-1).view(torch.uint8).view(rows, columns, 4).permute(0, 2, 1)
    codes = torch.empty(rows, 4, codes_per_byte, columns, dtype=torch.uint8, device=words.device)
    for index in range(codes_per_byte):
        torch.bitwise_right_shift(in_bytes, index * bits, out=codes[:, :, index])
    return codes.bitwise_and_(mask).reshape(-1, columns)


def _unpack_across_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Any width. The layout repeats as soon as codes fill whole words: every 3 words for 3 and 6 bits."""
    rows = words.shape[0] * 32 // bits
    codes_per_period, words_per_period = 32 // math.gcd(bits, 32), bits // math.gcd(bits, 32)
    periods = pad(words, (0, 0, 0, -words.shape[0] % words_per_period)).reshape(-1, words_per_period, words.shape[1])
    codes = torch.empty(periods.shape[0], codes_per_period, words.shape[1], dtype=torch.uint8, device=words.device)
    mask = (1 << bits) - 1
    for index in range(codes_per_period):
        word, shift = divmod(index * bits, 32)
        value = periods[:, word] >> shift
        bits_in_word = 32 - shift
        if bits_in_word < bits:
            value = (value & ((1 << bits_in_word) - 1)) | (periods[:, word + 1] << bits_in_word)
        codes[:, index] = value & mask
    return codes.reshape(-1, words.shape[1])[:rows]


def pack_stream(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the inverse of `unpack_stream`: uint8 [R, C] with R * bits a multiple of 32 -> int32 [R*bits/32, C]."""
    rows = codes.shape[0] * bits // 32
    blocks = pad(codes.to(torch.int64), (0, 0, 0, -codes.shape[0] % CODES_PER_BLOCK))
    blocks = blocks.reshape(-1, CODES_PER_BLOCK, codes.shape[1])
    words = torch.zeros(blocks.shape[0], bits, codes.shape[1], dtype=torch.int64, device=codes.device)
    for index in range(CODES_PER_BLOCK):
        word, shift = divmod(index * bits, 32)
        value = blocks[:, index] << shift
        words[:, word] |= value & 0xFFFFFFFF
        if shift + bits > 32:
            words[:, word + 1] |= value >> 32
    return words.to(torch.int32).reshape(-1, codes.shape[1])[:rows]


def unpack_awq(words: torch.Tensor) -> torch.Tensor:
    """Return the 4-bit codes of AWQ words: int32 [R, C/8] -> uint8 [R, C]."""
    codes = torch.empty(*words.shape, len(AWQ_COLUMN_OF_NIBBLE), dtype=torch.uint8, device=words.device)
    for nibble, column in enumerate(AWQ_COLUMN_OF_NIBBLE):
        codes[..., column] = (words >> (4 * nibble)) & 0xF
    return codes.reshape(words.shape[0], -1)


def pack_awq(codes: torch.Tensor) -> torch.Tensor:
    """Return the inverse of `unpack_awq`: uint8 [R, C] with C % 8 == 0 -> int32 [R, C/8]."""
    columns = codes.to(torch.int64).reshape(codes.shape[0], -1, len(AWQ_COLUMN_OF_NIBBLE))
    words = torch.zeros(columns.shape[:2], dtype=torch.int64, device=codes.device)
    for nibble, column in enumerate(AWQ_COLUMN_OF_NIBBLE):
        words |= columns[..., column] << (4 * nibble)
    return words.to(torch.int32)
