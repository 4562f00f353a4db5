"""Tensors of zeros on a CPU whose memory is taken as it is written, and can be given back."""

import math
import mmap

import torch

RESERVE_ONLY = 0x4000
"""MAP_NORESERVE of linux/mman.h, which Python's mmap names from 3.13 on: address space counts for nothing."""


class Pages:
    """Address space for a tensor; `tensor` reads as zeros until it is written."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        size = math.prod(shape) * dtype.itemsize
        self._pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | RESERVE_ONLY)
        # A huge page would take 2 MiB for the first token of a sequence.
        self._pages.madvise(mmap.MADV_NOHUGEPAGE)
        self.tensor = torch.frombuffer(self._pages, dtype=dtype).view(shape)

    def give_back(self, start: int, stop: int) -> None:
        """Give the whole pages between elements `start` and `stop` back to the system; they read as zeros again."""
        width = self.tensor.element_size()
        first = math.ceil(start * width / mmap.PAGESIZE) * mmap.PAGESIZE
        last = stop * width // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._pages.madvise(mmap.MADV_DONTNEED, first, last - first)
