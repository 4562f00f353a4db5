import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import Quantized
from tests.engine.harness import Answer, ask, ask_all, start_engine
from tgi_autoround.engine import Engine, EngineConfig, FinishReason, Request, SamplingParams, StepReport, build_engine
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence
from tgi_autoround.errors import CheckpointError, ConfigError, EngineError

PROMPT = list(range(3, 40))


@pytest.fixture(scope="module")
def engine(quantized: Quantized) -> Iterator[Engine]:
    engine = start_engine(quantized(bits=4), cpu_compute="fp32", max_batch_size=4, max_total_tokens=512)
    yield engine
    engine.stop()


def test_the_same_seed_gives_the_same_tokens_alone_and_in_a_batch(engine: Engine) -> None:
    params = SamplingParams(max_new_tokens=20, do_sample=True, temperature=1.3, top_p=0.95, seed=7)
    alone = ask_all(engine, [(PROMPT, params)])[0]
    crowd = [(PROMPT[:n], SamplingParams(max_new_tokens=30, do_sample=True, seed=n)) for n in (5, 11, 20)]
    together = ask_all(engine, [*crowd, (PROMPT, params)])[-1]
    assert alone.token_ids == together.token_ids


def test_another_seed_gives_other_tokens(engine: Engine) -> None:
    texts = [ask(engine, PROMPT, max_new_tokens=20, do_sample=True, temperature=1.5, seed=seed) for seed in (1, 2)]
    assert texts[0].token_ids != texts[1].token_ids


def test_max_new_tokens_ends_with_length_and_exactly_so_many_tokens(engine: Engine) -> None:
    answer = ask(engine, PROMPT, max_new_tokens=9)
    assert (answer.finish.reason, answer.finish.generated_tokens, len(answer.outputs)) == (FinishReason.LENGTH, 9, 9)


def test_a_stop_sequence_ends_the_text_and_stays_in_it(engine: Engine) -> None:
    free = ask(engine, PROMPT, max_new_tokens=20)
    stop = next(output.token.text for output in free.outputs[3:] if output.token.text.strip())
    answer = ask(engine, PROMPT, max_new_tokens=20, stop=(stop,))
    assert answer.finish.reason is FinishReason.STOP_SEQUENCE
    assert answer.finish.generated_text.endswith(stop)
    assert answer.token_ids == free.token_ids[: len(answer.token_ids)]


def test_the_text_of_the_tokens_is_the_generated_text(engine: Engine) -> None:
    answer = ask(engine, PROMPT, max_new_tokens=60, do_sample=True, temperature=2.0, seed=3)
    streamed = "".join(output.token.text for output in answer.outputs if not output.token.special)
    assert answer.finish.generated_text.startswith(streamed)
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(output.token.text[-1:] for output in answer.outputs)


def test_a_repetition_penalty_changes_what_greedy_takes(engine: Engine) -> None:
    plain = ask(engine, PROMPT, max_new_tokens=30)
    penalized = ask(engine, PROMPT, max_new_tokens=30, repetition_penalty=1.8)
    assert len(set(penalized.token_ids)) > len(set(plain.token_ids))


def test_a_cancelled_request_leaves_and_the_others_go_on(engine: Engine) -> None:
    gone, stays = Answer(), Answer()
    request = Request(PROMPT, SamplingParams(max_new_tokens=400))
    engine.submit(request, gone)
    engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=50)), stays)
    while not gone.outputs:
        time.sleep(0.001)
    engine.cancel(request)
    seen = len(gone.outputs)
    assert stays.ended.wait(60)
    assert not gone.ended.is_set()
    assert len(gone.outputs) <= seen + 1


def test_a_request_cancelled_during_a_step_gets_nothing_of_that_step(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, request = Answer(), Request(PROMPT, SamplingParams(max_new_tokens=5))
    step = engine._runner.step

    def step_while_the_client_leaves(plan: Plan) -> object:
        engine.cancel(request)
        return step(plan)

    with monkeypatch.context() as patch:
        patch.setattr(engine._runner, "step", step_while_the_client_leaves)
        engine.submit(request, answer)
        assert not answer.ended.wait(0.5)
    assert answer.outputs == []


def test_more_requests_than_slots_are_all_answered(engine: Engine) -> None:
    answers = ask_all(engine, [(PROMPT[: 5 + n], SamplingParams(max_new_tokens=5 + n)) for n in range(20)])
    assert [answer.finish.generated_tokens for answer in answers] == [5 + n for n in range(20)]


def test_a_request_over_the_limits_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="does not fit max_total_tokens 512"):
        engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=512)), Answer())


@pytest.mark.parametrize("token_id", [1024, 2**40, -1])
def test_a_token_that_the_model_does_not_embed_is_refused_and_nobody_else_fails(engine: Engine, token_id: int) -> None:
    other = Answer()
    engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=50)), other)
    with pytest.raises(EngineError, match=f"token {token_id}, but the model embeds tokens 0 to 1023"):
        engine.submit(Request([*PROMPT, token_id, 3], SamplingParams(max_new_tokens=5)), Answer())
    assert other.ended.wait(60)
    assert other.finish.generated_tokens == 50


def test_a_failing_step_fails_its_requests_and_the_engine_lives_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(_plan: object) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(engine._runner, "step", explode)
        failed = ask(engine, PROMPT, max_new_tokens=5)
    assert failed.failure is not None
    assert "see the server's log" in failed.failure.message
    assert ask(engine, PROMPT, max_new_tokens=5).finish.generated_tokens == 5


def test_a_receiver_that_raises_does_not_take_the_engine_down(engine: Engine) -> None:
    def explode(_event: object) -> None:
        raise RuntimeError("injected")

    engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=5)), explode)
    assert ask(engine, PROMPT, max_new_tokens=5).finish.generated_tokens == 5
    assert engine.healthy()


def test_a_request_without_numbers_fails_and_is_not_answered_with_token_0(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = engine._runner.step

    def step_to_nan(plan: Plan) -> object:
        due, logits = step(plan)
        return due, logits * torch.nan

    with monkeypatch.context() as patch:
        patch.setattr(engine._runner, "step", step_to_nan)
        answer = ask(engine, PROMPT, max_new_tokens=5)
    assert answer.failure is not None
    assert answer.outputs == []


class Panic(BaseException):
    """What a panic of Rust code is to Python."""


@pytest.mark.parametrize("error", [RuntimeError, Panic])
def test_an_error_in_the_text_of_one_request_fails_that_request_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    finish_reason = Sequence._finish_reason

    def explode_for_one(sequence: Sequence, text: str, *, is_eos: bool) -> FinishReason | None:
        if sequence.request.params.seed == 1 and sequence.generated_tokens == 3:
            raise error("injected")
        return finish_reason(sequence, text, is_eos=is_eos)

    monkeypatch.setattr(Sequence, "_finish_reason", explode_for_one)
    requests = [(PROMPT, SamplingParams(max_new_tokens=20, seed=seed)) for seed in range(3)]
    first, broken, last = ask_all(engine, requests)
    assert broken.failure is not None
    assert "failed on this request" in broken.failure.message
    assert len(broken.outputs) == 2
    assert [answer.finish.generated_tokens for answer in (first, last)] == [20, 20]
    assert engine.healthy()


class BrokenObserver:
    """Fails whatever it is told, and counts how often it was."""

    def __init__(self) -> None:
        self.steps = self.rests = 0

    def on_step(self, _report: StepReport) -> None:
        self.steps += 1
        raise RuntimeError("injected")

    def on_idle(self) -> None:
        self.rests += 1
        raise RuntimeError("injected")


def test_an_observer_that_raises_fails_no_request_and_leaves_the_engine_alive(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = BrokenObserver()
    monkeypatch.setattr(engine, "observer", observer)
    for rests in (1, 2):
        answer = ask(engine, PROMPT, max_new_tokens=5)
        assert answer.failure is None
        assert answer.finish.generated_tokens == 5
        while observer.rests < rests:
            assert engine.healthy()
            time.sleep(0.001)
    assert observer.steps == 10


def test_an_engine_that_dies_leaves_nobody_waiting(quantized: Quantized, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_arguments: object) -> None:
        raise RuntimeError("injected")

    engine = start_engine(quantized(bits=4), max_batch_size=4, max_total_tokens=256)
    monkeypatch.setattr(engine._scheduler, "_take_out", explode)
    answers = ask_all(engine, [(PROMPT, SamplingParams(max_new_tokens=tokens)) for tokens in (5, 100)])
    assert answers[-1].failure is not None
    assert not engine.healthy()
    with pytest.raises(EngineError, match="stopped"):
        engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=1)), Answer())


def test_the_smallest_limits_leave_room_for_the_warm_up(quantized: Quantized) -> None:
    for total in (2, 8):
        engine = start_engine(quantized(bits=4), max_total_tokens=total, max_batch_size=1)
        assert ask(engine, [3], max_new_tokens=1).finish.generated_tokens == 1
        engine.stop()


def test_stop_drains_what_is_running(quantized: Quantized) -> None:
    engine = start_engine(quantized(bits=4), max_total_tokens=512)
    answer = Answer()
    engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=100)), answer)
    engine.stop(drain_s=60)
    assert answer.finish.generated_tokens == 100
    with pytest.raises(EngineError, match="stopped"):
        engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=1)), Answer())


def test_stop_without_drain_fails_what_is_running(quantized: Quantized) -> None:
    engine = start_engine(quantized(bits=4))
    answer = Answer()
    engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=1900)), answer)
    engine.stop()
    assert answer.failure is not None
    assert "shutting down" in answer.failure.message


def test_an_engine_that_was_never_started_can_be_stopped_without_waiting(quantized: Quantized) -> None:
    engine, _tokenizer, _config = build_engine(EngineConfig(quantized(bits=4)))
    begin = time.monotonic()
    engine.stop(drain_s=60)
    assert time.monotonic() - begin < 30
    with pytest.raises(EngineError, match="stopped"):
        engine.submit(Request(PROMPT, SamplingParams(max_new_tokens=1)), Answer())


class RecordingObserver:
    def __init__(self) -> None:
        self.reports: list[StepReport] = []

    def on_step(self, report: StepReport) -> None:
        self.reports.append(report)

    def on_idle(self) -> None:
        """Not of interest."""


def test_only_requests_count_and_not_the_warm_up(quantized: Quantized) -> None:
    observer = RecordingObserver()
    engine, _tokenizer, _config = build_engine(EngineConfig(quantized(bits=4)))
    engine.observer = observer
    engine.start()
    ask(engine, PROMPT, max_new_tokens=2)
    engine.stop(drain_s=10)
    assert [report.admitted_tokens for report in observer.reports] == [len(PROMPT)] * 2


def test_quantize_is_refused_for_a_floating_point_model(tiny_llama: Path) -> None:
    with pytest.raises(ConfigError, match="tgi-autoround quantize"):
        build_engine(EngineConfig(tiny_llama, quantize="auto-round"))


def test_a_model_without_tokenizer_is_refused(quantized: Quantized, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(quantized(bits=4) / name, tmp_path)
    with pytest.raises(CheckpointError, match="the tokenizer cannot be loaded"):
        build_engine(EngineConfig(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not valid JSON"), ("[]", "must hold a JSON object"), ('{"eos_token_id": {"a": 1}}', "eos_token_id is")],
)
def test_a_broken_generation_config_is_refused_in_a_sentence_that_names_it(
    quantized: Quantized, tmp_path: Path, content: str, words: str
) -> None:
    model_dir = shutil.copytree(quantized(bits=4), tmp_path / "model")
    (model_dir / "generation_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"generation_config\.json.*{words}"):
        build_engine(EngineConfig(model_dir))


def test_an_end_of_text_token_ends_the_generation(engine: Engine, quantized: Quantized, tmp_path: Path) -> None:
    free = ask(engine, PROMPT, max_new_tokens=20).token_ids
    model_dir = shutil.copytree(quantized(bits=4), tmp_path / "model")
    (model_dir / "generation_config.json").write_text(json.dumps({"eos_token_id": [free[4]]}))
    other = start_engine(model_dir, cpu_compute="fp32")
    answer = ask(other, PROMPT, max_new_tokens=20)
    other.stop()
    assert answer.finish.reason is FinishReason.EOS_TOKEN
    assert answer.token_ids == free[: free.index(free[4]) + 1]
