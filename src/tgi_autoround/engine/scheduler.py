"""Who runs in the next step: continuous batching by token budget, first come first served.

Every step decodes one token of each running sequence and, within `max_batch_prefill_tokens`, computes the next part
of the prompts that wait to run. A request is admitted once its prompt and all it may generate fit the batch's budget,
so a running one never has to be stopped for memory.
"""

import time
from collections import deque
from dataclasses import dataclass

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part `start..stop` of a sequence's prompt."""

    sequence: Sequence
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One step's work. Sequences that decode lie in slots 0, 1, 2 ... in this order."""

    decoding: tuple[Sequence, ...]
    chunks: tuple[Chunk, ...]

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """Everyone who takes part."""
        return (*self.decoding, *(chunk.sequence for chunk in self.chunks))


class Scheduler:
    """The queue and the running batch.

    Invariant: `running[i].slot == i`, and sequences that decode come before those whose prompt is being computed.
    """

    def __init__(self, limits: EngineLimits, cache: KVCache) -> None:
        self._limits = limits
        self._cache = cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def reserved_tokens(self) -> int:
        """Tokens that the running batch may come to hold."""
        return sum(sequence.reserved_tokens for sequence in self.running)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the end of the queue."""
        self.waiting.append(sequence)

    def plan(self) -> Plan | None:
        """Return the next step's work, admitting from the queue what fits; None when there is nothing to do."""
        decoding = tuple(sequence for sequence in self.running if sequence.is_decoding)
        budget = self._limits.max_batch_prefill_tokens
        chunks: list[Chunk] = []
        for sequence in self.running[len(decoding) :]:
            budget -= self._add_chunk(chunks, sequence, budget)
        while budget > 0 and self._can_admit():
            budget -= self._add_chunk(chunks, self._admit(), budget)
        return Plan(decoding, tuple(chunks)) if decoding or chunks else None

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and close the gap that its slot leaves."""
        if sequence.slot < 0:
            self.waiting.remove(sequence)
            return
        gap = sequence.slot
        last_decoding = sum(other.is_decoding for other in self.running) - 1
        if gap < last_decoding:
            self._relocate(self.running[last_decoding], gap)
            gap = last_decoding
        for slot in range(gap, len(self.running) - 1):
            self._relocate(self.running[slot + 1], slot)
        self.running.pop()

    def _can_admit(self) -> bool:
        if not self.waiting or len(self.running) == self._limits.max_batch_size:
            return False
        return self.reserved_tokens + self.waiting[0].reserved_tokens <= self._limits.max_batch_total_tokens

    def _admit(self) -> Sequence:
        sequence = self.waiting.popleft()
        sequence.slot = len(self.running)
        sequence.request.started_at = time.perf_counter()
        self.running.append(sequence)
        return sequence

    def _relocate(self, sequence: Sequence, slot: int) -> None:
        """Of the prompts being computed only the first holds tokens, so closing a gap copies little."""
        self._cache.move(sequence.slot, slot, sequence.cached)
        sequence.slot = slot
        self.running[slot] = sequence

    @staticmethod
    def _add_chunk(chunks: list[Chunk], sequence: Sequence, budget: int) -> int:
        start = sequence.cached
        stop = min(len(sequence.request.prompt_ids), start + budget)
        if stop > start:
            chunks.append(Chunk(sequence, start, stop))
        return stop - start
