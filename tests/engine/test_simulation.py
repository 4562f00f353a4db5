"""Thousands of random requests through the scheduler and the cache, with a model whose every token depends on all rows.

The model keeps a running hash of a sequence's tokens in the cache and reads it from there, so a row that is misplaced,
lost, recomputed wrongly or shared with the wrong sequence changes every token after it.
"""

import dataclasses
import random
from dataclasses import dataclass, field

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from tests.engine.hash_model import VOCABULARY, HashModel, make_cache, tokens_alone
from tests.models import make_tokenizer
from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.request import Request, SamplingParams
from tgi_autoround.engine.scheduler import Plan, Scheduler
from tgi_autoround.engine.sequence import Sequence

ADAPTERS = (None, None, "one", "two")
ROOMY = EngineLimits(
    max_input_tokens=127,
    max_total_tokens=128,
    max_batch_prefill_tokens=48,
    max_batch_total_tokens=1024,
    max_batch_size=6,
    prefix_cache_tokens=1024,
)
TIGHT = dataclasses.replace(ROOMY, max_batch_total_tokens=208, prefix_cache_tokens=208)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@dataclass
class Simulation:
    """The engine's loop without threads."""

    limits: EngineLimits
    tokenizer: PreTrainedTokenizerBase
    random: random.Random
    failures: float = 0.002
    leavers: float = 0.001
    ended: list[Sequence] = field(default_factory=list)
    first_entered: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = make_cache(self.limits)
        self.model = HashModel(self.cache)
        self.scheduler = Scheduler(self.limits, self.cache)
        self._watch_moves()
        self._stems = [self._random_tokens(80) for _ in range(5)]

    def _watch_moves(self) -> None:
        """Copies take memory at once, not in the next step."""
        move = self.cache.move

        def watched(*arguments: int, give_back: bool) -> None:
            move(*arguments, give_back=give_back)
            self._check_memory()

        self.cache.move = watched  # type: ignore[method-assign]

    def _check_memory(self) -> None:
        in_use = self.cache.resident_tokens + self.scheduler._slots._prefixes.tokens
        assert in_use <= self.limits.max_batch_total_tokens

    def run(self, requests: int) -> None:
        submitted = 0
        while submitted < requests or self.scheduler.running or self.scheduler.waiting:
            for _ in range(self.random.choice((0, 0, 0, 1, 5))):
                if submitted < requests and len(self.scheduler.waiting) < 20:
                    self.scheduler.add(self._sequence())
                    submitted += 1
            for sequence in (*self.scheduler.running, *self.scheduler.waiting):
                if self.random.random() < self.leavers:
                    self._end(sequence, self.scheduler.finish)
            plan = self.scheduler.plan()
            if plan is not None:
                self._check(plan)
                self._step(plan)

    def _sequence(self) -> Sequence:
        stem = self.random.choice(self._stems)[: self.random.randint(0, 80)]
        prompt = stem + self._random_tokens(self.random.randint(1, 30))
        room = self.limits.max_total_tokens - len(prompt)
        params = SamplingParams(max_new_tokens=self.random.randint(1, min(room, 60)))
        sequence = Sequence.of(Request(prompt, params), lambda _event: None, self.tokenizer)
        sequence.request.adapter = self.random.choice(ADAPTERS)
        return sequence

    def _step(self, plan: Plan) -> None:
        if self.random.random() < self.failures:
            self.model.break_down(plan)
            for sequence in plan.sequences:
                self._end(sequence, self.scheduler.fail)
            return
        for sequence, token in self.model.step(plan):
            sequence.tokens.append(token)
            if sequence.generated_tokens == sequence.request.params.max_new_tokens:
                self._end(sequence, self.scheduler.finish)

    def _end(self, sequence: Sequence, leave) -> None:
        leave(sequence)
        self.ended.append(sequence)

    def _random_tokens(self, count: int) -> list[int]:
        return [self.random.randrange(VOCABULARY) for _ in range(count)]

    def _check(self, plan: Plan) -> None:
        limits, scheduler = self.limits, self.scheduler
        running = scheduler.running
        assert plan.prompt_tokens <= limits.max_batch_prefill_tokens
        assert len(running) <= limits.max_batch_size
        assert [sequence.slot for sequence in running] == list(range(len(running)))
        assert list(plan.decoding) == running[: len(plan.decoding)]
        held = sum(sequence.cached + 1 for sequence in plan.decoding) + sum(chunk.stop for chunk in plan.chunks)
        assert held <= scheduler.held_tokens <= limits.max_batch_total_tokens
        self._check_memory()
        assert not torch.isnan(self.cache.keys[0][: len(running), 0, :, 0]).any()
        oldest = min((*running, *scheduler.waiting), key=lambda sequence: sequence.arrival)
        assert oldest in plan.sequences, "whoever came first goes on in every step, so nobody waits for ever"
        youngest_running = max(sequence.arrival for sequence in running)
        assert all(sequence.arrival > youngest_running for sequence in scheduler.waiting)
        self.first_entered += [
            chunk.sequence.arrival
            for chunk in plan.chunks
            if chunk.sequence.arrival > max(self.first_entered, default=0)
        ]


@pytest.mark.parametrize(
    ("limits", "preempts", "reused_share"),
    [
        (ROOMY, False, 0.2),
        (TIGHT, True, 0.01),
        (dataclasses.replace(TIGHT, prefix_cache_tokens=0), True, 0.0),
        (dataclasses.replace(TIGHT, max_waiting_tokens=3, waiting_served_ratio=0.5), True, 0.01),
    ],
    ids=["roomy", "tight", "without prefixes", "tight with waiting tokens"],
)
def test_every_stream_is_what_it_would_be_alone_and_no_limit_is_passed(
    tokenizer: PreTrainedTokenizerBase, limits: EngineLimits, preempts: bool, reused_share: float
) -> None:
    simulation = Simulation(limits, tokenizer, random.Random(1))
    simulation.run(requests=1500)
    assert len(simulation.ended) == 1500
    complete = 0
    for sequence in simulation.ended:
        generated = sequence.tokens[len(sequence.request.prompt_ids) :]
        alone = tokens_alone(sequence.request)
        assert generated == alone[: len(generated)]
        complete += len(generated) == len(alone)
    assert complete > 1000
    assert simulation.first_entered == sorted(simulation.first_entered)
    counts = simulation.scheduler.counts
    assert (counts.preemptions > 20) == preempts
    assert counts.reused_tokens >= reused_share * counts.admitted_tokens
    assert (counts.reused_tokens > 0) == (reused_share > 0)
    assert not simulation.scheduler.held_tokens
    _check_nothing_leaks(simulation)


def _check_nothing_leaks(simulation: Simulation) -> None:
    prefixes = simulation.scheduler._slots._prefixes
    prefixes.shrink(0)
    assert sorted(prefixes._free) == list(range(prefixes._capacity))
    simulation.cache.keep_only([])
    assert simulation.cache.resident_tokens == 0
