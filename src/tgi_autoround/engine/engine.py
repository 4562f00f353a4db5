"""The engine: a thread that turns requests into tokens, step by step.

engine.start()
engine.submit(request, on_event)      # on_event(Output | Failure) runs on the engine's thread
engine.cancel(request)                # gone within one step, no further events
engine.stop(drain_s=90)
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from tgi_autoround.engine.admission import Admission
from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.grammar import Grammars
from tgi_autoround.engine.observer import Observer, StepReport
from tgi_autoround.engine.request import Failure, OnEvent, Output, Request, SamplingParams
from tgi_autoround.engine.runner import ModelRunner
from tgi_autoround.engine.sampling import Choice, Chooser
from tgi_autoround.engine.scheduler import Counts, Plan, Scheduler
from tgi_autoround.engine.sequence import Sequence
from tgi_autoround.engine.token_texts import TokenTexts
from tgi_autoround.errors import EngineError

logger = logging.getLogger(__name__)


class Engine:
    """Continuous batching over one model. All public methods may be called from any thread."""

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        tokenizer: PreTrainedTokenizerBase,
        limits: EngineLimits,
        eos_token_ids: frozenset[int],
        vocabulary_size: int,
        adapters: frozenset[str] = frozenset(),
    ) -> None:
        self.limits = limits
        self.observer: Observer | None = None
        self.grammars = Grammars(tokenizer, eos_token_ids)
        self.adapters = adapters
        self._admission = Admission(limits, vocabulary_size, adapters)
        self._runner = runner
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._eos_token_ids = eos_token_ids
        self._texts = TokenTexts(tokenizer)
        self._chooser = Chooser()
        self._inbox: deque[Sequence] = deque()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._submitting = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Run a short request through the model, then take requests.

        Raises UnsupportedError where the model's code needs what the engine does not do.
        """
        self._warm_up()
        self._thread.start()

    def submit(self, request: Request, on_event: OnEvent) -> None:
        """Queue a request. Raises EngineError where it does not fit the model or the engine has stopped.

        A grammar is to be one that `grammars.compile` returned, as compiling may take a while.
        """
        self._admission.check(request)
        sequence = Sequence.of(request, on_event, self._tokenizer, self.grammars.start(request.params.grammar))
        with self._submitting:
            if self._stopping or not self._thread.is_alive():
                raise EngineError("the engine has stopped")
            self._inbox.append(sequence)
            self._idle.clear()
        self._wake.set()

    def cancel(self, request: Request) -> None:
        """Drop a request within one step; it gets no further events."""
        request.cancelled = True
        self._wake.set()

    def healthy(self) -> bool:
        """Return whether the engine's thread is at work."""
        return self._thread.is_alive()

    def stop(self, drain_s: float = 0.0) -> None:
        """Give running requests up to `drain_s` seconds, fail what is left, end the thread."""
        has_started = self._thread.ident is not None
        if has_started:
            self._idle.wait(drain_s)
        with self._submitting:
            self._stopping = True
        self._wake.set()
        if has_started:
            self._thread.join()

    def _warm_up(self) -> None:
        params = SamplingParams(max_new_tokens=min(2, self.limits.max_total_tokens - 1))
        prompt = [0] * min(8, self.limits.max_input_tokens, self.limits.max_total_tokens - params.max_new_tokens)
        sequence = Sequence.of(Request(prompt, params), lambda _event: None, self._tokenizer)
        self._scheduler.add(sequence)
        while (plan := self._scheduler.plan()) is not None:
            due, _logits = self._runner.step(plan)
            for _ in due:
                sequence.add(Choice(0, 0.0), self._texts, is_eos=False)
            if sequence.generated_tokens == params.max_new_tokens:
                self._scheduler.finish(sequence)
        self._scheduler.counts = Counts()
        self._runner.check_architecture()

    def _run(self) -> None:
        """Whatever ends the thread, nobody is left waiting for it."""
        try:
            self._loop()
        except Exception:
            logger.exception("the engine has failed and takes no more requests")
        finally:
            with self._submitting:
                self._stopping = True
            for sequence in (*self._scheduler.running, *self._scheduler.waiting, *self._inbox):
                _deliver(sequence, Failure("the server is shutting down"))
            self._idle.set()

    def _loop(self) -> None:
        while not self._stopping:
            self._take_in()
            plan = self._scheduler.plan()
            if plan is None:
                self._rest()
                continue
            started = time.perf_counter()
            try:
                self._step(plan)
            except Exception:
                logger.exception("a step failed; its %d requests fail with it", len(plan.sequences))
                self._fail(plan.sequences, "the model failed on this batch; see the server's log")
            else:
                self._report(plan, time.perf_counter() - started)

    def _rest(self) -> None:
        """Wait for work. A submission sets `wake` after it has cleared `idle`, so neither is missed."""
        with self._submitting:
            if not self._inbox:
                self._idle.set()
        self._tell(lambda observer: observer.on_idle())
        self._wake.wait()
        self._wake.clear()

    def _take_in(self) -> None:
        while self._inbox:
            self._scheduler.add(self._inbox.popleft())
        for sequence in (*self._scheduler.running, *self._scheduler.waiting):
            if sequence.request.cancelled:
                self._scheduler.finish(sequence)

    def _step(self, plan: Plan) -> None:
        due, logits = self._runner.step(plan)
        choices = self._runner.greedy_choices()
        if choices is None:
            choices = self._chooser.choose([sequence.sampler for sequence in due], logits) if due else []
        for sequence, choice in zip(due, choices, strict=True):
            self._emit(sequence, choice)

    def _report(self, plan: Plan, step_s: float) -> None:
        self._scheduler.pace.record(len(plan.decoding), plan.prompt_tokens, step_s)
        counts = self._scheduler.counts
        report = StepReport(
            method="prefill" if plan.chunks else "decode",
            batch_size=len(plan.sequences),
            batch_tokens=self._scheduler.held_tokens,
            queue_size=len(self._scheduler.waiting) + len(self._inbox),
            inference_s=step_s,
            admitted_tokens=counts.admitted_tokens,
            reused_tokens=counts.reused_tokens,
            preemptions=counts.preemptions,
        )
        self._tell(lambda observer: observer.on_step(report))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        """An observer that fails must not take the engine down with it."""
        if self.observer is None:
            return
        try:
            tell(self.observer)
        except Exception:
            logger.exception("the engine's observer failed")

    def _emit(self, sequence: Sequence, choice: Choice) -> None:
        """What fails here is one sequence's own: its text, its grammar. A panic of Rust code is no Exception."""
        try:
            self._give_token(sequence, choice)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            logger.exception("a request's next token failed; the request fails with it")
            self._fail((sequence,), "the server failed on this request; see its log")

    def _give_token(self, sequence: Sequence, choice: Choice) -> None:
        if not math.isfinite(choice.logprob):
            self._fail((sequence,), sequence.why_no_token)
            return
        output = sequence.add(choice, self._texts, is_eos=choice.token_id in self._eos_token_ids)
        if output.finish is not None:
            self._scheduler.finish(sequence)
        if not sequence.request.cancelled:
            _deliver(sequence, output)

    def _fail(self, sequences: tuple[Sequence, ...], message: str) -> None:
        for sequence in sequences:
            if sequence in self._scheduler.running or sequence in self._scheduler.waiting:
                self._scheduler.fail(sequence)
                _deliver(sequence, Failure(message))


def _deliver(sequence: Sequence, event: Output | Failure) -> None:
    """A receiver that fails must not take the engine, and so everyone else's requests, down with it."""
    try:
        sequence.on_event(event)
    except Exception:
        logger.exception("the receiver of a request's events failed; the request is dropped")
        sequence.request.cancelled = True
