"""What is reused, put back and computed again changes no token, and takes no more memory than it may."""

import os
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.conftest import Quantized
from tests.engine.harness import Answer, ask_all, greedy, start_engine, submit_all
from tests.oracle import dequantized_model
from tgi_autoround.engine import Request, SamplingParams
from tgi_autoround.engine.memory_pages import Pages

VOCABULARY = 1024


def prompts_with_shared_stems() -> list[list[int]]:
    """Twelve prompts that begin in one of three ways, and one that is a whole number of blocks."""
    generator = torch.Generator().manual_seed(3)
    stems = torch.randint(3, VOCABULARY, (3, 70), generator=generator).tolist()
    ends = torch.randint(3, VOCABULARY, (12, 9), generator=generator).tolist()
    return [stems[index % 3] + end[: index % 10] for index, end in enumerate(ends)] + [stems[0][:64]]


@pytest.fixture(scope="module")
def model_dir(quantized: Quantized) -> Path:
    return quantized(bits=4)


@pytest.fixture(scope="module")
def expected(model_dir: Path) -> list[list[int]]:
    model = dequantized_model(model_dir)
    return [greedy(model, prompt, 40) for prompt in prompts_with_shared_stems()]


@pytest.mark.parametrize(
    ("options", "reuses", "preempts"),
    [
        ({"prefix_caching": False}, False, False),
        ({"prefix_caching": True, "max_batch_prefill_tokens": 100}, True, False),
        ({"prefix_caching": False, "max_batch_total_tokens": 250, "max_total_tokens": 120}, False, True),
        ({"prefix_caching": True, "max_batch_total_tokens": 250, "max_total_tokens": 120}, None, True),
    ],
    ids=["plain", "prefixes", "preemption", "prefixes and preemption"],
)
def test_greedy_tokens_are_those_of_generate(
    model_dir: Path, expected: list[list[int]], options: dict[str, int], reuses: bool | None, preempts: bool
) -> None:
    engine = start_engine(model_dir, cpu_compute="fp32", max_batch_size=8, **options)
    requests = [(prompt, SamplingParams(max_new_tokens=40)) for prompt in prompts_with_shared_stems()]
    answers = [answer for _ in range(2) for answer in ask_all(engine, requests)]
    counts = engine._scheduler.counts
    engine.stop()
    assert [answer.token_ids for answer in answers] == 2 * expected
    assert [answer.finish.generated_tokens for answer in answers] == [40] * len(answers)
    assert (counts.preemptions > 0) == preempts
    assert reuses is None or (counts.reused_tokens > 0) == reuses


def test_a_preempted_stream_goes_on_with_its_own_random_numbers_penalties_and_text(model_dir: Path) -> None:
    params = [
        SamplingParams(max_new_tokens=60, do_sample=True, temperature=1.2, repetition_penalty=1.3, seed=seed)
        for seed in range(6)
    ]
    requests = [([5 + seed] * 20, one) for seed, one in enumerate(params)]
    roomy = start_engine(model_dir, cpu_compute="fp32", max_batch_size=8)
    alone = [ask_all(roomy, [request])[0] for request in requests]
    roomy.stop()
    tight = start_engine(model_dir, cpu_compute="fp32", max_total_tokens=80, max_batch_total_tokens=160)
    together = ask_all(tight, requests)
    preemptions = tight._scheduler.counts.preemptions
    tight.stop()
    assert preemptions > 0
    assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]
    assert [answer.finish.generated_text for answer in together] == [answer.finish.generated_text for answer in alone]
    assert ["".join(output.token.text for output in answer.outputs) for answer in together] == [
        "".join(output.token.text for output in answer.outputs) for answer in alone
    ]


def test_the_second_time_a_prompt_is_asked_all_its_whole_blocks_are_reused(model_dir: Path) -> None:
    engine = start_engine(model_dir, cpu_compute="fp32")
    prompt = list(range(3, 3 + 100))
    ask_all(engine, [(prompt, SamplingParams(max_new_tokens=2))])
    before = engine._scheduler.counts.reused_tokens
    first, second = (ask_all(engine, [(prompt, SamplingParams(max_new_tokens=n))])[0] for n in (8, 8))
    reused = engine._scheduler.counts.reused_tokens - before
    engine.stop()
    assert reused == 2 * 96
    assert first.token_ids == second.token_ids


def test_scores_of_a_prompt_are_all_there_whatever_is_stored_or_put_back(model_dir: Path) -> None:
    engine = start_engine(model_dir, cpu_compute="fp32", max_total_tokens=120, max_batch_total_tokens=150)
    prompt, params = list(range(3, 63)), SamplingParams(max_new_tokens=50)
    (first,) = submit_all(engine, [Request(prompt, params, prefill_logprobs=True)])
    reused = engine._scheduler.counts.reused_tokens
    (again,) = submit_all(engine, [Request(prompt, params, prefill_logprobs=True)])
    assert engine._scheduler.counts.reused_tokens == reused
    others = [Request([7, *prompt], params), Request(prompt, params, prefill_logprobs=True)]
    (_other, put_back) = submit_all(engine, others)
    preemptions = engine._scheduler.counts.preemptions
    engine.stop()
    assert preemptions > 0
    for answer in (again, put_back):
        assert answer.token_ids == first.token_ids
        assert [token.id for token in answer.finish.prefill] == prompt
        assert [token.logprob for token in answer.finish.prefill[1:]] == pytest.approx(
            [token.logprob for token in first.finish.prefill[1:]], abs=1e-4
        )


def test_a_request_that_was_put_back_can_be_cancelled_while_it_waits(model_dir: Path) -> None:
    engine = start_engine(model_dir, max_batch_size=8, max_total_tokens=200, max_batch_total_tokens=200)
    stays, leaves = Answer(), Answer()
    engine.submit(Request(list(range(3, 43)), SamplingParams(max_new_tokens=150)), stays)
    request = Request(list(range(3, 13)), SamplingParams(max_new_tokens=150))
    engine.submit(request, leaves)
    while not engine._scheduler.counts.preemptions:
        time.sleep(0.001)
    engine.cancel(request)
    seen = len(leaves.outputs)
    assert stays.ended.wait(60)
    engine.stop(drain_s=10)
    assert stays.finish.generated_tokens == 150
    assert len(leaves.outputs) == seen
    assert not engine._scheduler.waiting


def test_pages_given_back_leave_the_process_and_read_as_zeros() -> None:
    process = psutil.Process(os.getpid())
    pages = Pages((64, 2**18), torch.float32)
    before = process.memory_info().rss
    pages.tensor.fill_(1.0)
    full = process.memory_info().rss
    pages.give_back(2**18, 64 * 2**18)
    after = process.memory_info().rss
    assert full - before > 60 * 2**20
    assert after - before < 4 * 2**20
    assert (pages.tensor[0] == 1.0).all()
    assert not pages.tensor[1:].any()
