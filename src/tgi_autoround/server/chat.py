"""Chat requests as generate requests, and generated tokens as chat answers."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tgi_autoround.engine.request import FinishReason
from tgi_autoround.server.context import ServerContext
from tgi_autoround.server.errors import ToolError, ValidationError
from tgi_autoround.server.infer import Answer, Prompt, Step
from tgi_autoround.server.prompts import Prompts
from tgi_autoround.server.schemas.base import Usage
from tgi_autoround.server.schemas.chat import (
    ChatCompletion,
    ChatCompletionChoice,
    ChatCompletionChunk,
    ChatCompletionComplete,
    ChatCompletionLogprob,
    ChatCompletionLogprobs,
    ChatRequest,
    TextMessage,
)
from tgi_autoround.server.schemas.generate import GenerateParameters, Token


def prompt_of(chat: ChatRequest, prompts: Prompts) -> Prompt:
    """Render the conversation and translate the parameters. Raises ApiError."""
    _refuse_unsupported(chat)
    do_sample, temperature = sampling_of(chat.temperature)
    parameters = GenerateParameters(
        do_sample=do_sample,
        temperature=temperature,
        # The sum is TGI's (router/src/lib.rs, 3.3.7); nothing penalizes presence as OpenAI defines it.
        repetition_penalty=None if chat.presence_penalty is None else chat.presence_penalty + 2.0,
        frequency_penalty=chat.frequency_penalty,
        top_p=chat.top_p,
        max_new_tokens=chat.max_tokens,
        stop=chat.stop or [],
        details=True,
        seed=chat.seed,
        top_n_tokens=chat.top_logprobs,
        grammar=chat.response_format,
    )
    return Prompt(prompts.render(chat.messages), parameters, add_special_tokens=False)


def sampling_of(temperature: float | None) -> tuple[bool, float | None]:
    """Whether OpenAI's routes sample, and at which temperature: only 0 is greedy."""
    return (False, None) if temperature == 0.0 else (True, temperature)


def finish_reason_of(reason: FinishReason) -> str:
    """The end of a text is OpenAI's "stop"; the other reasons keep TGI's words."""
    return "stop" if reason is FinishReason.EOS_TOKEN else reason.value


@dataclass(frozen=True)
class ChatAnswers:
    """Makes the answers to one chat request."""

    model: str
    fingerprint: str
    logprobs: bool
    include_usage: bool

    @classmethod
    def to(cls, chat: ChatRequest, context: ServerContext) -> "ChatAnswers":
        """Answer in the name of the model that the client asked for, as TGI does; "tgi" is the served one."""
        return cls(
            model=context.info.model_id if chat.model in (None, "tgi") else str(chat.model),
            fingerprint=context.fingerprint,
            logprobs=bool(chat.logprobs),
            include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        )

    def whole(self, answer: Answer) -> ChatCompletion:
        """The answer in one piece."""
        finish = answer.end.finish
        choice = ChatCompletionComplete(
            message=TextMessage(content=answer.end.text),
            logprobs=self._logprobs_of(answer.tokens),
            finish_reason=finish_reason_of(finish.reason),
        )
        return ChatCompletion(
            created=int(time.time()),
            model=self.model,
            system_fingerprint=self.fingerprint,
            choices=[choice],
            usage=Usage.of(answer.end.input_length, finish.generated_tokens),
        )

    def pieces(self, step: Step) -> Iterator[ChatCompletionChunk]:
        """The chunks for one token: the last token may be followed by the usage."""
        choice = ChatCompletionChoice(
            delta=TextMessage(content="" if step.token.special else step.token.text),
            logprobs=self._logprobs_of([step.token]),
            finish_reason=finish_reason_of(step.end.finish.reason) if step.end else None,
        )
        yield self._chunk([choice])
        if step.end and self.include_usage:
            yield self._chunk([], Usage.of(step.end.input_length, step.end.finish.generated_tokens))

    def _chunk(self, choices: list[ChatCompletionChoice], usage: Usage | None = None) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            created=int(time.time()),
            model=self.model,
            system_fingerprint=self.fingerprint,
            choices=choices,
            usage=usage,
        )

    def _logprobs_of(self, tokens: Sequence[Token]) -> ChatCompletionLogprobs | None:
        if not self.logprobs:
            return None
        content = [ChatCompletionLogprob(token=token.text, logprob=token.logprob) for token in tokens]
        return ChatCompletionLogprobs(content=content)


def _refuse_unsupported(chat: ChatRequest) -> None:
    if chat.response_format and chat.tools:
        raise ToolError("Grammar and tools are mutually exclusive")
    if chat.tools and chat.tool_choice != "none":
        raise ToolError("tools are not supported")
    if chat.n not in (None, 1):
        raise ValidationError("`n` != 1 is not supported")
    if chat.logit_bias:
        raise ValidationError("`logit_bias` is not supported")
