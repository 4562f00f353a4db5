"""One generate request from its JSON to the tokens of its answer, timed and counted."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from tgi_autoround.engine.request import Finish, Output
from tgi_autoround.server.bridge import Bridge
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.metrics import Metrics
from tgi_autoround.server.schemas.generate import GenerateParameters, Token
from tgi_autoround.server.validation import Validator, ValidRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to continue and how; a rendered chat has its special tokens in the text."""

    text: str
    parameters: GenerateParameters
    add_special_tokens: bool = True


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
    """One generated token; the last one has `end`."""

    token: Token
    end: End | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole generation."""

    tokens: list[Token]
    end: End


class Infer:
    """Validation, engine and metrics in one pass."""

    def __init__(self, validator: Validator, bridge: Bridge, metrics: Metrics) -> None:
        self._validator = validator
        self._bridge = bridge
        self._metrics = metrics

    async def stream(self, prompt: Prompt, *, streams: bool = True) -> AsyncGenerator[Step, None]:
        """Yield the tokens as they come. Raises ApiError, before the first token or between two."""
        started_at = time.perf_counter()
        self._metrics.request_count.inc()
        with self._bridge.place():
            valid = await self._validator.validate(
                prompt.text, prompt.parameters, add_special_tokens=prompt.add_special_tokens, streams=streams
            )
            self._metrics.on_valid(valid.input_length, valid.request.params.max_new_tokens)
            async with aclosing(self._bridge.outputs(valid.request)) as outputs:
                async for output in outputs:
                    end = self._end(prompt, valid, output.finish, started_at) if output.finish else None
                    yield Step(_token(output), end)

    async def answer(self, prompt: Prompt) -> Answer:
        """Return the whole generation. Raises ApiError."""
        tokens = []
        end = None
        async with aclosing(self.stream(prompt, streams=False)) as steps:
            async for step in steps:
                tokens.append(step.token)
                end = step.end
        if end is None:
            raise ApiError("Incomplete generation")
        return Answer(tokens, end)

    def _end(self, prompt: Prompt, valid: ValidRequest, finish: Finish, started_at: float) -> End:
        end = End(
            finish=finish,
            text=(prompt.text if prompt.parameters.return_full_text else "") + finish.generated_text,
            input_length=valid.input_length,
            seed=valid.seed,
            total_s=time.perf_counter() - started_at,
            validation_s=valid.request.queued_at - started_at,
        )
        self._metrics.on_success(end.total_s, end.validation_s, finish)
        logger.info(
            "Success total_time=%.6fs validation_time=%.6fs queue_time=%.6fs inference_time=%.6fs tokens=%d",
            end.total_s,
            end.validation_s,
            finish.queue_s,
            finish.inference_s,
            finish.generated_tokens,
        )
        return end


def _token(output: Output) -> Token:
    token = output.token
    return Token(id=token.id, text=token.text, logprob=token.logprob, special=token.special)
