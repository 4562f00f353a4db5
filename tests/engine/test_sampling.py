"""The batched choice against transformers' processors, one row at a time."""

import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from tgi_autoround.engine.request import SamplingParams, Watermark
from tgi_autoround.engine.sampling import Choice, Chooser, Sampler
from tgi_autoround.engine.sampling.on_device import choose_on_device
from tgi_autoround.engine.sampling.processors import process

VOCABULARY = 3000


def choose_as_on_a_gpu(samplers: list[Sampler], logits: torch.Tensor) -> list[Choice]:
    """What a GPU computes, with torch on the CPU: no machine with a GPU runs these tests."""
    scores = logits.clone()
    process(samplers, scores)
    return choose_on_device(samplers, scores)


Choose = Callable[[list[Sampler], torch.Tensor], list[Choice]]
both_ways = pytest.mark.parametrize("choose", [Chooser().choose, choose_as_on_a_gpu], ids=["cpu", "gpu"])


def params(**changes: object) -> SamplingParams:
    return SamplingParams(max_new_tokens=100, **changes)  # type: ignore[arg-type]


def oracle(logits: torch.Tensor, tokens: list[int], given: SamplingParams) -> torch.Tensor:
    """Log-probabilities [vocabulary] in TGI's order: penalties, then temperature, top_k, top_p, typical_p."""
    scores = logits[None].clone()
    scores = RepetitionPenaltyLogitsProcessor(given.repetition_penalty)(torch.tensor([tokens]), scores)
    counts = torch.bincount(torch.tensor(tokens), minlength=scores.shape[1])
    scores = scores - given.frequency_penalty * counts / len(tokens)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(given.temperature)])
    if given.top_k:
        warpers.append(TopKLogitsWarper(given.top_k))
    if given.top_p < 1:
        warpers.append(TopPLogitsWarper(given.top_p))
    if given.typical_p < 1:
        warpers.append(TypicalLogitsWarper(given.typical_p))
    return warpers(None, scores)[0].log_softmax(-1)


def choose_and_accept(choose: Choose, samplers: list[Sampler], logits: torch.Tensor) -> list[Choice]:
    choices = choose(samplers, logits)
    for sampler, choice in zip(samplers, choices, strict=True):
        sampler.accept(choice.token_id)
    return choices


some_params = st.builds(
    params,
    seed=st.integers(0, 2**64 - 1),
    do_sample=st.booleans(),
    temperature=st.sampled_from([1.0, 0.3, 0.9, 1.7]),
    top_k=st.sampled_from([0, 1, 5, 40, 2500, VOCABULARY, 9000]),
    top_p=st.sampled_from([1.0, 0.05, 0.6, 0.95]),
    typical_p=st.sampled_from([1.0, 0.2, 0.9]),
    repetition_penalty=st.sampled_from([1.0, 0.8, 1.3]),
    frequency_penalty=st.sampled_from([0.0, -1.5, 2.0]),
    top_n_tokens=st.just(VOCABULARY),
)


@both_ways
@given(
    batch=st.lists(some_params, min_size=1, max_size=5), spread=st.sampled_from([0.1, 1.0, 6.0]), seed=st.integers(0)
)
@settings(max_examples=60, deadline=None)
def test_a_row_has_the_distribution_of_transformers_and_its_choice_is_of_it(
    choose: Choose, batch: list[SamplingParams], spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed % 2**63)
    samplers, texts = [], []
    for each in batch:
        texts.append(torch.randint(VOCABULARY, (20,), generator=generator).tolist())
        samplers.append(Sampler(each, texts[-1]))
    for _step in range(3):
        logits = torch.randn(len(batch), VOCABULARY, generator=generator) * spread
        before = logits.clone()
        for text, choice, row, each in zip(
            texts, choose_and_accept(choose, samplers, logits), logits, batch, strict=True
        ):
            expected = dict(enumerate(oracle(row, text, each).tolist()))
            top = dict(choice.top)
            left, wanted = ({token for token, logprob in of.items() if logprob > -80} for of in (top, expected))
            # A cumulated probability within rounding of the threshold may fall on either side of it.
            assert len(left ^ wanted) <= 1 + VOCABULARY // 500
            if left == wanted:
                assert [top[token] for token in wanted] == pytest.approx(
                    [expected[token] for token in wanted], abs=2e-4
                )
            assert top[choice.token_id] == choice.logprob
            if not Sampler(each, text).samples:
                assert choice.logprob == max(top.values())
            text.append(choice.token_id)
        assert torch.equal(logits, before)


@both_ways
@given(batch=st.lists(some_params, min_size=2, max_size=6), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_row_does_not_depend_on_who_shares_the_batch(choose: Choose, batch: list[SamplingParams], seed: int) -> None:
    logits = torch.randn(4, len(batch), VOCABULARY, generator=torch.Generator().manual_seed(seed))
    together = [Sampler(each, [1, 2, 3]) for each in batch]
    alone = [Sampler(each, [1, 2, 3]) for each in batch]
    for step in logits:
        crowd = choose_and_accept(choose, together, step)
        assert crowd == [
            choose_and_accept(choose, [sampler], step[row : row + 1])[0] for row, sampler in enumerate(alone)
        ]


@both_ways
@pytest.mark.parametrize("truncation", [{}, {"top_k": 7}, {"typical_p": 0.99999}])
def test_tokens_come_as_often_as_they_are_probable(choose: Choose, truncation: dict[str, float]) -> None:
    logits = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)) * 1.5
    given_params = params(do_sample=True, **truncation)
    sampler = Sampler(given_params, [0])
    draws, rows = 20_000, 200
    batches = (choose([sampler] * rows, logits.expand(rows, -1)) for _ in range(draws // rows))
    counts = Counter(choice.token_id for batch in batches for choice in batch)
    for token, logprob in enumerate(oracle(logits[0], [0], given_params).tolist()):
        probability = math.exp(logprob)
        assert abs(counts[token] - draws * probability) <= 5 * math.sqrt(draws * probability)


@pytest.mark.parametrize(
    "changes", [{"top_p": 1e-9}, {"top_p": 1 - 1e-9}, {"typical_p": 1e-9}, {"top_k": 1}, {"top_k": 9}]
)
@both_ways
@pytest.mark.parametrize("largest", [0.0, 200.0])
def test_extreme_parameters_leave_a_token(choose: Choose, changes: dict[str, float], largest: float) -> None:
    """On rows where all tokens are alike, and where one has all the probability."""
    logits = torch.zeros(3, 32_000)
    logits[:, 77] = largest
    choices = choose([Sampler(params(**changes, top_n_tokens=1, seed=seed), [0]) for seed in range(3)], logits)
    for choice in choices:
        assert math.isfinite(choice.logprob)
        assert largest == 0 or choice.top == ((77, 0.0),)


@both_ways
def test_the_likeliest_tokens_are_given_with_their_ties_and_without_what_is_ruled_out(choose: Choose) -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, 1.0, 1.0, -9.0]])
    expected = logits[0].log_softmax(-1)
    (choice,) = choose([Sampler(params(top_n_tokens=3), [0])], logits)
    assert [token for token, _ in choice.top] == [1, 3, 2, 4, 5]
    assert [logprob for _, logprob in choice.top] == pytest.approx(expected[[1, 3, 2, 4, 5]].tolist(), abs=1e-6)
    (few,) = choose([Sampler(params(top_n_tokens=5, top_k=2), [0])], logits)
    assert [token for token, _ in few.top] == [1, 3]


@both_ways
@pytest.mark.parametrize("changes", [{}, {"do_sample": True}, {"top_k": 3}, {"top_p": 0.5}, {"top_n_tokens": 2}])
def test_a_row_without_numbers_spoils_only_itself(choose: Choose, changes: dict[str, float]) -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    broken = logits.clone()
    broken[0, 7] = math.nan
    good, bad = (choose([Sampler(params(seed=3, **changes), [0]) for _ in range(2)], each) for each in (logits, broken))
    assert not math.isfinite(bad[0].logprob)
    assert bad[1] == good[1]


def favoured(token: int, gamma: float) -> set[int]:
    """The published algorithm, step by step."""
    generator = torch.Generator(device="cpu")
    generator.manual_seed(15485863 * token)
    return set(torch.randperm(VOCABULARY, generator=generator)[: int(VOCABULARY * gamma)].tolist())


@both_ways
def test_a_watermark_shows_in_its_text_and_in_no_other(choose: Choose) -> None:
    generator = torch.Generator().manual_seed(5)

    def share_of_favoured_tokens(watermark: Watermark | None) -> float:
        sampler = Sampler(params(do_sample=True, seed=1, watermark=watermark), [9])
        hits, previous = 0, 9
        for _ in range(150):
            (choice,) = choose_and_accept(choose, [sampler], torch.randn(1, VOCABULARY, generator=generator))
            hits += choice.token_id in favoured(previous, 0.25)
            previous = choice.token_id
        return hits / 150

    expected = 0.25 * math.e**2 / (0.25 * math.e**2 + 0.75)
    assert share_of_favoured_tokens(Watermark(gamma=0.25, delta=2.0)) == pytest.approx(expected, abs=0.13)
    assert share_of_favoured_tokens(None) == pytest.approx(0.25, abs=0.13)


@given(batch=st.lists(some_params, min_size=1, max_size=4), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_gpu_chooses_what_a_cpu_chooses(batch: list[SamplingParams], seed: int) -> None:
    logits = torch.randn(len(batch), VOCABULARY, generator=torch.Generator().manual_seed(seed))
    ways = (Chooser().choose, choose_as_on_a_gpu)
    on_cpu, on_gpu = (way([Sampler(each, [1, 2, 3]) for each in batch], logits) for way in ways)
    for one, other in zip(on_cpu, on_gpu, strict=True):
        if len(one.top) == len(other.top):
            assert (one.token_id, one.logprob) == (other.token_id, pytest.approx(other.logprob, abs=1e-4))
