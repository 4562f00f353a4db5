"""Who enters a step, in small cases; test_simulation.py has the large ones."""

import dataclasses

import pytest
from transformers import PreTrainedTokenizerBase

from tests.engine.hash_model import HashModel, make_cache
from tests.models import make_tokenizer
from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.pace import STRETCH, Pace
from tgi_autoround.engine.request import Request, SamplingParams
from tgi_autoround.engine.scheduler import Plan, Scheduler
from tgi_autoround.engine.sequence import Sequence

LIMITS = EngineLimits(
    max_input_tokens=127,
    max_total_tokens=128,
    max_batch_prefill_tokens=30,
    max_batch_total_tokens=1024,
    max_batch_size=6,
    max_waiting_tokens=2,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


class Harness:
    """A scheduler with its model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: EngineLimits = LIMITS) -> None:
        self.cache = make_cache(limits)
        self.scheduler = Scheduler(limits, self.cache)
        self._model = HashModel(self.cache)
        self._tokenizer = tokenizer

    def submit(self, prompt_tokens: int) -> Sequence:
        request = Request([3] * prompt_tokens, SamplingParams(max_new_tokens=20))
        sequence = Sequence.of(request, lambda _event: None, self._tokenizer)
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> Plan:
        plan = self.scheduler.plan()
        assert plan is not None
        for sequence, token in self._model.step(plan):
            sequence.tokens.append(token)
        return plan

    def submit_one_without_numbers(self, prompt_tokens: int) -> Sequence:
        """One whose prompt is computed in part, so that nobody knows yet."""
        sequence = self.submit(prompt_tokens)
        self.step()
        assert 0 < sequence.cached < sequence.prefill_tokens
        self.cache.keys[0][sequence.slot, 0, : sequence.cached] = float("nan")
        return sequence

    @property
    def holds_no_numbers(self) -> bool:
        return bool(self.cache.keys[0].isnan().any())


def test_prompts_are_rationed_while_streams_run_until_waiting_tokens_end_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    harness = Harness(tokenizer)
    harness.scheduler.pace.record(decoding=1, prompt_tokens=0, step_s=1.0)
    harness.scheduler.pace.record(decoding=0, prompt_tokens=20, step_s=1.0)
    harness.submit(40)
    assert [harness.step().prompt_tokens for _ in range(3)] == [30, 10, 0]
    harness.submit(100)
    rationed = int((STRETCH - 1) * 20)
    assert [harness.step().prompt_tokens for _ in range(4)] == [rationed, rationed, 30, 70 - 2 * rationed]


def test_more_prompts_than_streams_enter_at_full_speed(tokenizer: PreTrainedTokenizerBase) -> None:
    harness = Harness(tokenizer)
    harness.submit(10)
    harness.step()
    for _ in range(2):
        harness.submit(50)
    assert harness.step().prompt_tokens == LIMITS.max_batch_prefill_tokens


def test_the_pace_holds_a_step_to_its_stretch_whatever_the_batch() -> None:
    def step_s(decoding: int, prompt_tokens: int) -> float:
        return 0.040 + 0.003 * (decoding + prompt_tokens)

    pace = Pace()
    for decoding in (1, 1, 1, 1, 8, 8, 16, 16, 16):
        chunk = pace.prompt_tokens(decoding)
        for prompt_tokens in (0, chunk, chunk, chunk):
            pace.record(decoding, prompt_tokens, step_s(decoding, prompt_tokens))
        assert step_s(decoding, pace.prompt_tokens(decoding)) < 3 * step_s(decoding, 0)
    assert pace.prompt_tokens(16) == pytest.approx((STRETCH - 1) * step_s(16, 0) / 0.003, rel=0.2)


def test_a_waiting_request_can_leave(tokenizer: PreTrainedTokenizerBase) -> None:
    harness = Harness(tokenizer)
    sequences = [harness.submit(50) for _ in range(9)]
    harness.step()
    harness.scheduler.finish(sequences[-1])
    assert sequences[-1] not in harness.scheduler.waiting
    assert len(harness.scheduler.waiting) + len(harness.scheduler.running) == 8


def test_who_is_cancelled_before_its_numbers_were_seen_leaves_them_neither_in_its_slot_nor_to_others_like_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    harness = Harness(tokenizer, dataclasses.replace(LIMITS, prefix_cache_tokens=1024))
    harness.scheduler.finish(harness.submit_one_without_numbers(100))
    assert not harness.holds_no_numbers
    harness.submit(100)
    harness.step()
    assert harness.scheduler.counts.reused_tokens == 0


def test_who_is_put_back_before_its_numbers_were_seen_leaves_none_in_its_slot(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    harness = Harness(tokenizer, dataclasses.replace(LIMITS, max_batch_prefill_tokens=5, max_batch_total_tokens=131))
    harness.submit(5)
    harness.step()
    harness.submit_one_without_numbers(112)
    while not harness.scheduler.counts.preemptions:
        assert harness.scheduler.plan() is not None
        harness.scheduler.running[0].cached += 1
    assert not harness.holds_no_numbers


def test_who_moves_before_its_numbers_were_seen_leaves_none_in_the_slot_it_had(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    harness = Harness(tokenizer)
    first = harness.submit(10)
    harness.step()
    moves = harness.submit_one_without_numbers(100)
    harness.scheduler.finish(first)
    assert harness.scheduler.plan() is not None
    assert moves.slot == 0
    harness.scheduler.fail(moves)
    assert not harness.holds_no_numbers


def test_an_empty_scheduler_has_no_plan() -> None:
    assert Scheduler(LIMITS, make_cache(LIMITS)).plan() is None
