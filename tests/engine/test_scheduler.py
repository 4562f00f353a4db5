"""Who enters a step, in small cases; test_simulation.py has the large ones."""

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

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        cache = make_cache(LIMITS)
        self.scheduler = Scheduler(LIMITS, cache)
        self._model = HashModel(cache)
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


def test_an_empty_scheduler_has_no_plan() -> None:
    assert Scheduler(LIMITS, make_cache(LIMITS)).plan() is None
