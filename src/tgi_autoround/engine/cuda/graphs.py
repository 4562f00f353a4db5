"""Decode steps as CUDA graphs: one a batch size, each taking tokens and positions where the one before has left them.

So a step can follow another without waiting for the host, which reads what was chosen while the next one runs.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch

from tgi_autoround.engine.cuda.decoder import CudaDecoder, Rows
from tgi_autoround.engine.cuda.ops.greedy import choose_on_device
from tgi_autoround.engine.cuda.ops.rotary import RowPlaces

logger = logging.getLogger(__name__)

NO_POSITION = -1


def batch_sizes(chosen: tuple[int, ...] | None, largest: int) -> tuple[int, ...]:
    """Return which batch sizes to capture, ascending: where none are chosen, powers of two, and the largest."""
    if chosen is not None:
        return tuple(sorted({min(size, largest) for size in chosen}))
    return (*(1 << exponent for exponent in range((largest - 1).bit_length())), largest)


@dataclass(frozen=True, slots=True)
class StartedStep:
    """A step that may still be running.

    batch, size: how many sequences it decodes, and the graph's batch size
    logits: [batch, vocabulary] on the device, until the next step overwrites them
    """

    batch: int
    size: int
    logits: torch.Tensor
    _choices: torch.Tensor
    _arrived: torch.cuda.Event

    def choices(self) -> list[tuple[int, float]]:
        """Wait for the step; return each sequence's largest logit's token and natural log-probability."""
        self._arrived.synchronize()
        tokens, _positions, logprobs = self._choices[:, : self.batch]
        return list(zip(tokens.tolist(), logprobs.view(torch.float32).tolist(), strict=True))


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
        self._inputs = torch.zeros(2, self.largest, dtype=torch.int32, pin_memory=True)
        self._choices = [torch.zeros(3, self.largest, dtype=torch.int32, pin_memory=True) for _ in range(2)]
        self._state = torch.zeros(3, self.largest, dtype=torch.int32, device=device)
        """Tokens, positions and, bit by bit, float32 log-probabilities."""
        self._slots = torch.arange(self.largest, dtype=torch.int32, device=device)
        started = time.perf_counter()
        pool = torch.cuda.graph_pool_handle()
        self._captured = {size: self._capture(size, pool) for size in reversed(sizes)}
        logger.info("captured decode steps of %s in %.1f s", ", ".join(map(str, sizes)), time.perf_counter() - started)

    def start(self, tokens: list[int], positions: list[int]) -> StartedStep:
        """Start a step of the sequences in slots 0, 1, 2 ..., whose newest tokens are at these positions."""
        batch = len(tokens)
        size = min(size for size in self._captured if size >= batch)
        inputs = self._inputs.numpy()
        inputs[0, :batch], inputs[1, :batch] = tokens, positions
        inputs[1, batch:size] = NO_POSITION
        self._state[:2].copy_(self._inputs, non_blocking=True)
        return self._run(batch, size)

    def follow(self, step: StartedStep) -> StartedStep:
        """Start the step after one that is the last started, from the tokens that it chooses.

        The choices of the one before that must have been read.
        """
        return self._run(step.batch, step.size)

    def _run(self, batch: int, size: int) -> StartedStep:
        captured = self._captured[size]
        captured.graph.replay()
        self._choices.reverse()
        self._choices[0].copy_(self._state, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return StartedStep(batch, size, captured.logits[:batch], self._choices[0], arrived)

    def _capture(self, size: int, pool: Any) -> _Captured:
        """The first run, outside of the graph, compiles kernels and allocates what they keep."""
        self._state[1] = NO_POSITION
        self._step(size)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = self._step(size)
        return _Captured(graph, logits)

    def _step(self, size: int) -> torch.Tensor:
        tokens, positions, logprobs = self._state[:, :size]
        logits = self._decoder.logits(Rows(tokens, RowPlaces(self._slots[:size], positions), decoding=size))
        choose_on_device(logits, tokens, logprobs.view(torch.float32), positions)
        return logits
