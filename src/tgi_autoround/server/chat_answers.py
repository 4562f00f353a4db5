"""Generated tokens as the answer to a chat request: whole, or as the chunks of a stream."""

import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tgi_autoround.engine.request import FinishReason, Token
from tgi_autoround.server.context import ServerContext
from tgi_autoround.server.infer import Answer, Step
from tgi_autoround.server.schemas.base import Usage
from tgi_autoround.server.schemas.chat import (
    ChatCompletion,
    ChatCompletionComplete,
    ChatCompletionLogprobs,
    ChatRequest,
)
from tgi_autoround.server.schemas.messages import Message, TextMessage, ToolCallsBody
from tgi_autoround.server.schemas.tools import ToolCall, ToolCallMessage
from tgi_autoround.server.tool_calls import CallPiece

CALL_NUMBER = re.compile(r"[0-9]{1,18}")

Chunk = dict[str, Any]
"""The JSON of a ChatCompletionChunk: a plain dictionary, because there is one for every token."""


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
    call_id: str

    @classmethod
    def to(cls, chat: ChatRequest, context: ServerContext) -> "ChatAnswers":
        """Answer in the name of the model that the client asked for, as TGI does; "tgi" is the served one."""
        return cls(
            model=context.info.model_id if chat.model in (None, "tgi") else str(chat.model),
            fingerprint=context.fingerprint,
            logprobs=bool(chat.logprobs),
            include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
            call_id=_next_call_id(chat.messages),
        )

    def whole(self, answer: Answer, call: ToolCall | None) -> ChatCompletion:
        """The answer in one piece."""
        finish = answer.end.finish
        choice = ChatCompletionComplete(
            message=ToolCallMessage(tool_calls=[call]) if call else TextMessage(content=answer.end.text),
            logprobs=ChatCompletionLogprobs.model_validate(_logprobs_of(answer.tokens)) if self.logprobs else None,
            finish_reason=finish_reason_of(finish.reason),
        )
        return ChatCompletion(
            created=int(time.time()),
            model=self.model,
            system_fingerprint=self.fingerprint,
            choices=[choice],
            usage=Usage.of(answer.end.input_length, finish.generated_tokens),
        )

    def text_chunks(self, step: Step) -> Iterator[Chunk]:
        """The chunks of one token of text: the last one may be followed by the usage."""
        yield self._token_chunk(step, {"role": "assistant", "content": "" if step.token.special else step.token.text})
        yield from self._usage_chunks(step)

    def call_chunks(self, step: Step, piece: CallPiece | None) -> Iterator[Chunk]:
        """The chunks of one token of a tool's call, which may add nothing to it."""
        if piece is not None:
            function = {"name": piece.name, "arguments": piece.arguments}
            call = {"index": 0, "id": self.call_id, "type": "function", "function": function}
            yield self._token_chunk(step, {"role": "assistant", "tool_calls": [call]})
        yield from self._usage_chunks(step)

    def _usage_chunks(self, step: Step) -> Iterator[Chunk]:
        if step.end and self.include_usage:
            usage = Usage.of(step.end.input_length, step.end.finish.generated_tokens)
            yield self._chunk([], usage.model_dump())

    def _token_chunk(self, step: Step, delta: dict[str, Any]) -> Chunk:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": _logprobs_of([step.token]) if self.logprobs else None,
            "finish_reason": finish_reason_of(step.end.finish.reason) if step.end else None,
        }
        return self._chunk([choice], None)

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> Chunk:
        return {
            "object": "chat.completion.chunk",
            "id": "",
            "created": int(time.time()),
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "usage": usage,
        }


def _logprobs_of(tokens: Sequence[Token]) -> dict[str, Any]:
    """The JSON of ChatCompletionLogprobs."""
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "top_logprobs": [{"token": other.text, "logprob": other.logprob} for other in token.top_tokens],
            }
            for token in tokens
        ]
    }


def _next_call_id(messages: Sequence[Message]) -> str:
    """The number after those of the calls in the conversation, or any new id where they are no numbers."""
    bodies = [message.body for message in messages if isinstance(message.body, ToolCallsBody)]
    calls = [call for body in bodies for call in body.tool_calls]
    if all(CALL_NUMBER.fullmatch(call.id) for call in calls):
        return str(max((int(call.id) + 1 for call in calls), default=0))
    return str(uuid.uuid4())
