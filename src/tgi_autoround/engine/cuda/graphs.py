"""Decode steps as CUDA graphs: one a batch size, replayed with whatever tokens and positions lie in its inputs."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch

from tgi_autoround.engine.cuda.decoder import CudaDecoder, Rows
from tgi_autoround.engine.cuda.ops.rotary import RowPlaces

logger = logging.getLogger(__name__)

NO_POSITION = -1


def batch_sizes(chosen: tuple[int, ...] | None, largest: int) -> tuple[int, ...]:
    """Return which batch sizes to capture, ascending: where none are chosen, powers of two, and the largest."""
    if chosen is not None:
        return tuple(sorted({min(size, largest) for size in chosen}))
    return (*(1 << exponent for exponent in range((largest - 1).bit_length())), largest)


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    logits: torch.Tensor


class DecodeGraphs:
    """The decode steps of a decoder, by batch size; a batch runs in the next larger one.

    Rows that fill up a batch are at position -1: they write nothing to the cache, and their logits are not returned.
    """

    def __init__(self, decoder: CudaDecoder, sizes: tuple[int, ...], device: torch.device) -> None:
        self._decoder = decoder
        self.largest = max(sizes, default=0)
        self._host = torch.zeros(2, self.largest, dtype=torch.int32, pin_memory=True)
        self._device = torch.zeros_like(self._host, device=device)
        self._slots = torch.arange(self.largest, dtype=torch.int32, device=device)
        started = time.perf_counter()
        pool = torch.cuda.graph_pool_handle()
        self._captured = {size: self._capture(size, pool) for size in reversed(sizes)}
        logger.info("captured decode steps of %s in %.1f s", ", ".join(map(str, sizes)), time.perf_counter() - started)

    def replay(self, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Start one step of sequences in slots 0, 1, 2 ...; return where its logits will be, [sequences, vocabulary].

        They stay there until the next step.
        """
        size = min(size for size in self._captured if size >= len(tokens))
        host = self._host.numpy()
        host[0, : len(tokens)], host[1, : len(tokens)] = tokens, positions
        host[1, len(tokens) : size] = NO_POSITION
        self._device.copy_(self._host, non_blocking=True)
        captured = self._captured[size]
        captured.graph.replay()
        return captured.logits[: len(tokens)]

    def _capture(self, size: int, pool: Any) -> _Captured:
        """The first run, outside of the graph, compiles kernels and allocates what they keep."""
        rows = Rows(self._device[0, :size], RowPlaces(self._slots[:size], self._device[1, :size]), decoding=size)
        self._device[1] = NO_POSITION
        self._decoder.logits(rows)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = self._decoder.logits(rows)
        return _Captured(graph, logits)
