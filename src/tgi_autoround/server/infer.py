"""One generate request from its JSON to the tokens of its answer, timed and counted."""

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from tgi_autoround.engine.request import Finish, Token
from tgi_autoround.server.bridge import Bridge
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.metrics import Metrics
from tgi_autoround.server.schemas.generate import GenerateParameters
from tgi_autoround.server.spans import Span, Spans
from tgi_autoround.server.tasks import all_of
from tgi_autoround.server.validation import Validator, ValidRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to continue and how; a rendered chat has its special tokens in the text."""

    text: str
    parameters: GenerateParameters
    add_special_tokens: bool = True
    is_counted: bool = False
    """Whether the request has been counted already, with an earlier prompt of it."""


@dataclass(frozen=True, slots=True)
class End:
    """How a generation went. Times in seconds; `seed` is None for greedy decoding."""

    finish: Finish
    text: str
    """The generated text, after the prompt where that was asked for."""
    input_length: int
    seed: int | None
    total_s: float
    validation_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """One generated token; the last one has `end`. `stop` ends the generation when the server has seen enough."""

    token: Token
    end: End | None
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole generation, and those that `best_of` made beside it."""

    tokens: list[Token]
    end: End
    others: tuple["Answer", ...] = ()

    @property
    def mean_logprob(self) -> float:
        """What `best_of` compares."""
        return sum(token.logprob for token in self.tokens) / len(self.tokens)


class Infer:
    """Validation, engine and metrics in one pass."""

    def __init__(self, validator: Validator, bridge: Bridge, metrics: Metrics, spans: Spans) -> None:
        self._validator = validator
        self._bridge = bridge
        self._metrics = metrics
        self._spans = spans

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        """Yield the tokens as they come. Raises ApiError, before the first token or between two."""
        self._count(prompt)
        with self._spans.request(prompt.parameters, streams=True) as span:
            self._validator.check_stream(prompt.parameters)
            async with aclosing(self._steps(prompt)) as steps:
                async for step in steps:
                    if step.end is not None:
                        self._report(step.end, span)
                    yield step

    async def answer(self, prompt: Prompt) -> Answer:
        """Return the whole generation, the best of several where that was asked for. Raises ApiError."""
        self._count(prompt)
        count = max(prompt.parameters.best_of or 1, 1)
        with self._spans.request(prompt.parameters, streams=False) as span:
            self._validator.check_best_of(count)
            answers = await all_of(self._whole(prompt) for _ in range(count))
            best = max(answers, key=lambda answer: answer.mean_logprob)
            self._report(best.end, span)
        return replace(best, others=tuple(answer for answer in answers if answer is not best))

    async def _whole(self, prompt: Prompt) -> Answer:
        tokens = []
        end = None
        async with aclosing(self._steps(prompt)) as steps:
            async for step in steps:
                tokens.append(step.token)
                end = step.end
        if end is None:
            raise ApiError("Incomplete generation")
        return Answer(tokens, end)

    async def _steps(self, prompt: Prompt) -> AsyncGenerator[Step, None]:
        started_at = time.perf_counter()
        with self._bridge.place():
            valid = await self._validator.validate(
                prompt.text, prompt.parameters, add_special_tokens=prompt.add_special_tokens
            )
            self._metrics.on_valid(valid.input_length, valid.request.params.max_new_tokens)
            end_of = partial(_end, prompt, valid, started_at)
            stop = partial(self._bridge.stop, valid.request)
            async with aclosing(self._bridge.outputs(valid.request)) as outputs:
                async for output in outputs:
                    yield Step(output.token, end_of(output.finish) if output.finish else None, stop)

    def _count(self, prompt: Prompt) -> None:
        if not prompt.is_counted:
            self._metrics.request_count.inc()

    def _report(self, end: End, span: Span) -> None:
        self._metrics.on_success(end.total_s, end.validation_s, end.finish)
        span.succeed(end.total_s, end.validation_s, end.finish, end.seed)
        logger.info("Success", extra={"span": span})


def _end(prompt: Prompt, valid: ValidRequest, started_at: float, finish: Finish) -> End:
    return End(
        finish=finish,
        text=(prompt.text if prompt.parameters.return_full_text else "") + finish.generated_text,
        input_length=valid.input_length,
        seed=valid.seed,
        total_s=time.perf_counter() - started_at,
        validation_s=valid.request.queued_at - started_at,
    )
