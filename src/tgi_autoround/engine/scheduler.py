"""Who runs in the next step: continuous batching by what the cache holds, first come first served.

Every step decodes one token of each running sequence and computes the next part of the prompts that wait to run.
A request is admitted when its prompt fits beside what the batch holds and is about to hold. Where the batch outgrows
the budget all the same, the youngest sequence goes back to the head of the queue, and its tokens are computed again
later: the oldest always goes on, so everyone is served.
"""

import math
import time
from collections import deque
from dataclasses import dataclass

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.pace import Pace
from tgi_autoround.engine.sequence import Sequence
from tgi_autoround.engine.slots import Slots

GROWTH_SHARE = 0.25
"""Part of the tokens a batch may still generate that has to fit when another joins. Most requests end long before
max_new_tokens, so reserving all of it leaves memory unused; reserving none makes preemptions, which compute twice."""

SCORED_TOKENS = 128
"""Prompt tokens a step of a request that wants their log-probabilities: each has logits of the whole vocabulary."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part `start..stop` of a sequence's tokens that have to be computed before it decodes."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        """Whether the sequence's next token is due with this part."""
        return self.stop == self.sequence.prefill_tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """One step's work. Sequences that decode lie in slots 0, 1, 2 ... in this order."""

    decoding: tuple[Sequence, ...]
    chunks: tuple[Chunk, ...]

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """Everyone who takes part."""
        return (*self.decoding, *(chunk.sequence for chunk in self.chunks))

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all chunks."""
        return sum(chunk.stop - chunk.start for chunk in self.chunks)


@dataclass(slots=True)
class Counts:
    """What has happened since the start, in tokens and times."""

    admitted_tokens: int = 0
    reused_tokens: int = 0
    preemptions: int = 0


class Scheduler:
    """The queue and the running batch.

    Invariants: in a plan `running[i].slot == i`, and sequences that decode come before those whose prompt is being
    computed; whoever runs came before everyone who waits.
    """

    def __init__(self, limits: EngineLimits, cache: KVCache) -> None:
        self._limits = limits
        self._slots = Slots(limits, cache)
        self._arrivals = 0
        self._rationed_steps = 0
        self._entered: list[Sequence] = []
        self.pace = Pace()
        self.counts = Counts()
        self.waiting: deque[Sequence] = deque()

    @property
    def running(self) -> list[Sequence]:
        """The batch, in the order of its slots."""
        return self._slots.sequences

    @property
    def held_tokens(self) -> int:
        """Tokens of the cache that the running batch holds or is about to."""
        return sum(sequence.held_tokens for sequence in self.running)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the end of the queue."""
        self._arrivals += 1
        sequence.arrival = self._arrivals
        sequence.restart()
        self.waiting.append(sequence)

    def plan(self) -> Plan | None:
        """Return the next step's work, admitting from the queue what fits; None when there is nothing to do."""
        self._keep_prompts()
        while self.held_tokens > self._limits.max_batch_total_tokens:
            self._preempt(max(self.running, key=lambda sequence: sequence.arrival))
        self._slots.close_gaps()
        decoding = tuple(sequence for sequence in self.running if sequence.is_decoding)
        chunks = self._plan_chunks(decoding)
        if not decoding and not chunks:
            return None
        self._slots.take([sequence.cached + 1 for sequence in decoding] + [chunk.stop for chunk in chunks])
        self._entered = [chunk.sequence for chunk in chunks if chunk.is_last]
        return Plan(decoding, tuple(chunks))

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out whose tokens may be of use to others that begin alike."""
        if sequence.is_decoding:
            self._slots.keep(sequence)
        self._take_out(sequence)

    def fail(self, sequence: Sequence) -> None:
        """Take a sequence out that the model failed on."""
        if sequence.is_decoding:
            self._slots.erase(sequence)
        self._take_out(sequence)

    def _plan_chunks(self, decoding: tuple[Sequence, ...]) -> list[Chunk]:
        budget = self._prompt_budget(len(decoding))
        chunks: list[Chunk] = []
        for sequence in self.running[len(decoding) :]:
            budget -= self._add_chunk(chunks, sequence, budget)
        while budget > 0 and self._can_admit():
            budget -= self._add_chunk(chunks, self._admit(), budget)
        return chunks

    def _prompt_budget(self, decoding: int) -> int:
        """All that is allowed where nobody's stream is held up, or so many wait that it should be."""
        whole = self._limits.max_batch_prefill_tokens
        pending = len(self.running) - decoding + len(self.waiting)
        longest = self._limits.max_waiting_tokens
        if (
            not decoding
            or pending >= self._limits.waiting_served_ratio * decoding
            or (longest is not None and self._rationed_steps >= longest)
        ):
            self._rationed_steps = 0
            return whole
        self._rationed_steps = self._rationed_steps + 1 if pending else 0
        return min(whole, self.pace.prompt_tokens(decoding))

    def _can_admit(self) -> bool:
        if not self.waiting or self._slots.are_taken:
            return False
        batch = (*self.running, self.waiting[0])
        growth = sum(sequence.reserved_tokens - sequence.held_tokens for sequence in batch)
        held = sum(sequence.held_tokens for sequence in batch)
        return len(batch) == 1 or held + math.ceil(growth * GROWTH_SHARE) <= self._limits.max_batch_total_tokens

    def _admit(self) -> Sequence:
        sequence = self.waiting.popleft()
        sequence.request.started_at = sequence.request.started_at or time.perf_counter()
        self._slots.enter(sequence)
        self.counts.admitted_tokens += sequence.prefill_tokens
        if not sequence.request.prefill_logprobs:
            self.counts.reused_tokens += self._slots.reuse_prefix(sequence)
        return sequence

    def _preempt(self, sequence: Sequence) -> None:
        self._take_out(sequence)
        sequence.restart()
        self.waiting.appendleft(sequence)
        self.counts.preemptions += 1

    def _take_out(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is; the gap that its slot leaves is closed by the next plan."""
        if sequence.slot < 0:
            self.waiting.remove(sequence)
        else:
            self._slots.leave(sequence)

    def _keep_prompts(self) -> None:
        """Prompts computed in the last step, but for those whose numbers were none: these are out by now."""
        for sequence in self._entered:
            if sequence.slot >= 0:
                self._slots.keep(sequence)
        self._entered = []

    @staticmethod
    def _add_chunk(chunks: list[Chunk], sequence: Sequence, budget: int) -> int:
        """Return what it takes of the budget: all of it unless the prompt is complete, so that nobody overtakes it."""
        longest = min(budget, SCORED_TOKENS) if sequence.request.prefill_logprobs else budget
        start = sequence.cached
        stop = min(sequence.prefill_tokens, start + longest)
        if stop > start:
            chunks.append(Chunk(sequence, start, stop))
        return stop - start if stop == sequence.prefill_tokens else budget
