"""glibc's allocator while a model is loaded."""

import contextlib
import ctypes
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE_BYTES = 2**20
_SETTLED_MMAP_BYTES, _SETTLED_TRIM_BYTES = 32 * 2**20, 64 * 2**20
"""Where glibc's own adjustment ends in a process that frees large blocks, which is best for inference."""


@contextlib.contextmanager
def returning_large_blocks() -> Iterator[None]:
    """Give large blocks back to the system as soon as they are freed.

    By itself glibc soon keeps them on its heap, where the weights that stay are laid between the intermediates that go,
    and loading holds several times the memory that it uses. Does nothing with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, _SETTLED_MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _SETTLED_TRIM_BYTES)
