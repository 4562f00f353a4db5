"""What Gaudi's kernels must compute, in numpy: nothing of torch, of the package or of the emulation."""

import numpy as np


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 values, rounded to the nearest that bfloat16 has, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


def pack_words(codes: np.ndarray) -> np.ndarray:
    """The op's words, digit by digit: eight codes of a row are the hexadecimal digits of one, the first one lowest."""
    words = [[int("".join(f"{code:x}" for code in eight[::-1]), 16) for eight in row] for row in _eights(codes)]
    return np.array(words, dtype=np.uint32).view(np.int32)


def weight_in_bfloat16(codes: np.ndarray, zero_points: np.ndarray, scales: np.ndarray, group_size: int) -> np.ndarray:
    """[K, N] from codes [K, N], zero points and scales [G, N]: scales are rounded, then the products."""
    group = np.arange(codes.shape[0]) // group_size
    steps = codes.astype(np.float32) - zero_points.astype(np.float32)[group]
    return to_bfloat16(steps * to_bfloat16(scales.astype(np.float32))[group])


def _eights(codes: np.ndarray) -> np.ndarray:
    return codes.reshape(codes.shape[0], -1, 8)
