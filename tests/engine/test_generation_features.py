"""What requests may ask for beside text: the prompt's log-probabilities, the likeliest tokens, a watermark."""

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoTokenizer

from tests.conftest import Quantized
from tests.engine.harness import ask, start_engine, submit_all
from tests.oracle import dequantized_model
from tgi_autoround.engine import Engine, Request, SamplingParams, Watermark
from tgi_autoround.engine.scheduler import Plan

PROMPT = list(range(3, 40))


@pytest.fixture(scope="module")
def engine(quantized: Quantized) -> Iterator[Engine]:
    engine = start_engine(
        quantized(bits=4), cpu_compute="fp32", max_batch_size=4, max_total_tokens=512, max_batch_prefill_tokens=16
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def scores(quantized: Quantized):
    """Token ids -> log-probabilities of what follows each of them, [tokens, vocabulary], by transformers."""
    model = dequantized_model(quantized(bits=4))

    def of(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].log_softmax(-1)

    return of


def test_every_prompt_token_has_its_logprob_whatever_the_chunks_and_the_batch(
    engine: Engine, scores, quantized: Quantized
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(quantized(bits=4))
    prompts = [PROMPT, [7], PROMPT[5:21], list(range(900, 800, -1)), PROMPT]
    requests = [
        Request(prompt, SamplingParams(max_new_tokens=6), prefill_logprobs=index != 2)
        for index, prompt in enumerate(prompts)
    ]
    for prompt, request, answer in zip(prompts, requests, submit_all(engine, requests), strict=True):
        prefill = answer.finish.prefill
        if not request.prefill_logprobs:
            assert prefill == ()
            continue
        assert [token.id for token in prefill] == prompt
        assert [token.text for token in prefill] == [tokenizer.decode([token]) for token in prompt]
        assert prefill[0].logprob is None
        expected = scores(prompt)[:-1].gather(1, torch.tensor(prompt[1:])[:, None])[:, 0]
        assert [token.logprob for token in prefill[1:]] == pytest.approx(expected.tolist(), abs=1e-4)


def test_greedy_text_comes_with_the_models_likeliest_tokens(engine: Engine, scores) -> None:
    answer = ask(engine, PROMPT, max_new_tokens=8, top_n_tokens=4)
    expected = scores(PROMPT + answer.token_ids)[len(PROMPT) - 1 :].topk(4)
    for output, ids, values in zip(answer.outputs, expected.indices.tolist(), expected.values.tolist(), strict=False):
        assert [token.id for token in output.token.top_tokens] == ids
        assert [token.logprob for token in output.token.top_tokens] == pytest.approx(values, abs=1e-4)
        assert output.token.top_tokens[0].logprob == output.token.logprob
        assert all(token.top_tokens == () for token in output.token.top_tokens)


def test_a_watermarked_text_is_another_one_and_repeatable(engine: Engine) -> None:
    plain, *marked = (
        ask(engine, PROMPT, max_new_tokens=20, watermark=watermark).token_ids
        for watermark in (None, Watermark(delta=8.0), Watermark(delta=8.0))
    )
    assert marked[0] == marked[1] != plain


def test_the_logits_of_a_long_prompt_are_never_there_at_once(
    quantized: Quantized, scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine(quantized(bits=4), cpu_compute="fp32", max_batch_prefill_tokens=512)
    plans: list[Plan] = []
    step = engine._runner.step
    monkeypatch.setattr(engine._runner, "step", lambda plan: plans.append(plan) or step(plan))
    prompt = (PROMPT * 9)[:300]
    params = SamplingParams(max_new_tokens=3)
    (answer, _other) = submit_all(engine, [Request(prompt, params, prefill_logprobs=True), Request(PROMPT, params)])
    engine.stop()
    scored = [chunk for plan in plans for chunk in plan.chunks if chunk.sequence.request.prefill_logprobs]
    assert [(chunk.start, chunk.stop) for chunk in scored] == [(0, 128), (128, 256), (256, 300)]
    expected = scores(prompt)[:-1].gather(1, torch.tensor(prompt[1:])[:, None])[:, 0]
    assert [token.logprob for token in answer.finish.prefill[1:]] == pytest.approx(expected.tolist(), abs=1e-4)
