"""Times of single steps on a GPU, of the kernels in them, and of reading memory."""

import statistics
import time
from collections import defaultdict
from typing import Any

import torch
import triton
import triton.language as tl
from engine_cuda_models import CUDA
from torch.profiler import ProfilerActivity, profile

from tgi_autoround.engine.cuda.graphs import DecodeGraphs, StartedStep

BYTES_TO_READ = 4 * 2**30
POSITION = 160
"""Of every sequence while steps are timed: the middle of 128 prompt tokens and 64 generated ones."""
STEPS = 40


@triton.jit
def _read(numbers, sums, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(sums + tl.program_id(0), tl.sum(tl.load(numbers + at)))


def bandwidth() -> dict[str, float]:
    """Return bytes a second of reading memory, and of copying it, both directions counted."""
    numbers = torch.randint(0, 9, (BYTES_TO_READ // 4,), dtype=torch.int32, device=CUDA)
    target, block = torch.empty_like(numbers), 8192
    sums = torch.empty(numbers.numel() // block, dtype=torch.int32, device=CUDA)
    read_ms = _median_ms(lambda: _read[(sums.numel(),)](numbers, sums, BLOCK=block, num_warps=8))
    copy_ms = _median_ms(lambda: target.copy_(numbers))
    return {"read": numbers.nbytes / read_ms * 1000, "copy": 2 * numbers.nbytes / copy_ms * 1000}


@torch.inference_mode()
def step_ms(graphs: DecodeGraphs, batch: int) -> float:
    """Return the time between two steps that follow each other at once, at POSITION on average."""

    def steps() -> None:
        step = _started(graphs, batch)
        for _ in range(STEPS):
            step = graphs.follow(step)

    return _median_ms(steps) / (STEPS + 1)


@torch.inference_mode()
def round_trip_ms(graphs: DecodeGraphs, batch: int) -> float:
    """Return the time from handing tokens to a step until the host has those that it chooses, nothing else running."""
    spans = []
    for _ in range(STEPS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        _started(graphs, batch).choices()
        spans.append((time.perf_counter() - started) * 1000)
    return statistics.median(spans)


@torch.inference_mode()
def kernel_times(graphs: DecodeGraphs, batch: int) -> list[dict[str, Any]]:
    """Return the microseconds that each kernel takes in one step, all its launches together, the longest first.

    Kernels that overlap count the time in which they wait for each other.
    """
    _started(graphs, batch).choices()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step = _started(graphs, batch)
        for _ in range(3):
            step = graphs.follow(step)
        torch.cuda.synchronize()
    durations: dict[str, list[float]] = defaultdict(list)
    for event in profiler.events():
        if event.device_time > 0:
            durations[event.name].append(event.device_time)
    found = [{"kernel": name[:80], "us": sum(each) / 4, "launches": len(each) // 4} for name, each in durations.items()]
    return sorted(found, key=lambda each: -each["us"])


def _started(graphs: DecodeGraphs, batch: int) -> StartedStep:
    return graphs.start(list(range(batch)), [POSITION - STEPS // 2] * batch)


def _median_ms(run: Any) -> float:
    run()
    spans = []
    for _ in range(5):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        spans.append(start.elapsed_time(stop))
    return statistics.median(spans)
