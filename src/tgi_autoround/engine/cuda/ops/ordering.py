"""The order of kernels on a stream, and of a kernel's programs among each other."""

import functools

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def await_previous_kernel(OVERLAPPED: tl.constexpr):
    """Let the next kernel's blocks start, to load what no kernel writes, then wait for the previous one's results.

    Every overlapped kernel waits for the end of its predecessor, which waited for its own: so for all before it.
    """
    if OVERLAPPED:
        gdc_launch_dependents()
        gdc_wait()


@triton.jit
def is_last_to_arrive(arrivals, expected):
    """Return whether the `expected - 1` others have arrived, whose stores it may then load past the L1 cache.

    The last one resets the counter for the next launch.
    """
    tl.debug_barrier()
    is_last = tl.atomic_add(arrivals, 1, sem="acq_rel", scope="gpu") == expected - 1
    if is_last:
        tl.store(arrivals, 0)
    return is_last


IS_INTERPRETED = not isinstance(is_last_to_arrive, triton.JITFunction)
"""TRITON_INTERPRET=1 runs kernels in numpy."""


@functools.cache
def overlap() -> dict[str, bool]:
    """Return the arguments of a launch: kernels overlap where the GPU can, from compute capability 9.0 on."""
    able = not IS_INTERPRETED and torch.cuda.get_device_capability() >= (9, 0)
    return {"OVERLAPPED": able} | ({"launch_pdl": True} if able else {})
