"""Thousands of random requests through the scheduler, with a cache of integers that shows every misplaced row."""

import random

import pytest
import torch
from transformers import LlamaConfig

from tests.models import make_tokenizer
from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.request import Request, SamplingParams
from tgi_autoround.engine.scheduler import Plan, Scheduler
from tgi_autoround.engine.sequence import Sequence

LIMITS = EngineLimits(
    max_input_tokens=63, max_total_tokens=64, max_batch_prefill_tokens=40, max_batch_total_tokens=256, max_batch_size=6
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def cache() -> KVCache:
    config = LlamaConfig(hidden_size=4, num_attention_heads=1, num_key_value_heads=1, num_hidden_layers=1)
    return KVCache(config, LIMITS.max_batch_size, LIMITS.max_total_tokens, torch.float32, torch.device("cpu"))


def execute(plan: Plan, cache: KVCache) -> list[Sequence]:
    """A model that writes each sequence's identity into the cache and generates token 5."""
    for sequence in plan.decoding:
        cache.keys[0][sequence.slot, :, sequence.cached] = id(sequence) % 2**20
        sequence.cached += 1
    for chunk in plan.chunks:
        cache.keys[0][chunk.sequence.slot, :, chunk.start : chunk.stop] = id(chunk.sequence) % 2**20
        chunk.sequence.cached = chunk.stop
    return [sequence for sequence in plan.sequences if sequence.is_decoding]


def test_no_budget_is_passed_no_row_misplaced_and_everyone_is_served(tokenizer, cache: KVCache) -> None:
    random_ = random.Random(0)
    scheduler = Scheduler(LIMITS, cache)
    order, admitted, finished = [], [], 0
    while finished < 2000:
        if len(scheduler.waiting) < 10:
            prompt = [3] * random_.randint(1, 63)
            params = SamplingParams(max_new_tokens=random_.randint(1, 64 - len(prompt)))
            sequence = Sequence.of(Request(prompt, params), lambda _event: None, tokenizer)
            scheduler.add(sequence)
            order.append(sequence)
        plan = scheduler.plan()
        assert plan is not None
        assert scheduler.reserved_tokens <= LIMITS.max_batch_total_tokens
        assert sum(chunk.stop - chunk.start for chunk in plan.chunks) <= LIMITS.max_batch_prefill_tokens
        assert [sequence.slot for sequence in plan.decoding] == list(range(len(plan.decoding)))
        admitted += [chunk.sequence for chunk in plan.chunks if chunk.start == 0]
        for sequence in execute(plan, cache):
            sequence.tokens.append(5)
            rows = cache.keys[0][sequence.slot, :, : sequence.cached]
            assert (rows == id(sequence) % 2**20).all()
            if sequence.generated_tokens == sequence.request.params.max_new_tokens or random_.random() < 0.02:
                scheduler.remove(sequence)
                finished += 1
    assert admitted == order[: len(admitted)]


def test_a_waiting_request_can_be_removed(tokenizer, cache: KVCache) -> None:
    scheduler = Scheduler(LIMITS, cache)
    sequences = [
        Sequence.of(Request([3] * 50, SamplingParams(max_new_tokens=14)), lambda _event: None, tokenizer)
        for _ in range(9)
    ]
    for sequence in sequences:
        scheduler.add(sequence)
    scheduler.plan()
    scheduler.remove(sequences[-1])
    assert sequences[-1] not in scheduler.waiting


def test_an_empty_scheduler_has_no_plan(cache: KVCache) -> None:
    assert Scheduler(LIMITS, cache).plan() is None
