"""OpenAI's API as TGI, vLLM and others speak it: /v1/chat/completions and /v1/completions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from loadtest.llmload.protocols.api import END_MARK, Answer, BadAnswer, StreamEvent, parse_json, set_fields
from loadtest.llmload.record import ErrorKind
from loadtest.llmload.request import PromptRequest


@dataclass(frozen=True)
class _OpenAi:
    streaming: bool

    def body(self, request: PromptRequest, model: str) -> bytes:
        sampling = request.sampling
        return orjson.dumps(
            set_fields(
                model=model,
                max_tokens=request.max_tokens,
                stream=self.streaming,
                stream_options={"include_usage": True} if self.streaming else None,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=sampling.seed,
                stop=list(sampling.stop),
                **self._prompt(request),
            )
        )

    def read_stream(self, events: Iterable[StreamEvent], answer: Answer) -> None:
        """An event without text, as the first one that names the role, carries no token."""
        marked = False
        for piece, data in events:
            if data == END_MARK:
                marked = True
                continue
            event = parse_json(data)
            _take_usage(event, answer)
            for choice in event.get("choices") or ():
                text, generated = self._streamed(choice)
                if generated:
                    answer.token_pieces.append(piece)
                    answer.text.append(text)
                answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        if answer.finish_reason is None or not marked:
            missing = "a finish reason" if answer.finish_reason is None else END_MARK.decode()
            count = len(answer.token_pieces)
            raise BadAnswer(ErrorKind.TRUNCATED, f"the stream ended after {count} events with text without {missing}")
        _require_usage(answer)

    def read_whole(self, body: bytes, headers: Mapping[str, str], answer: Answer) -> None:  # noqa: ARG002
        parsed = parse_json(body)
        _take_usage(parsed, answer)
        for choice in parsed.get("choices") or ():
            answer.text.append(self._whole_text(choice))
            answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        if answer.finish_reason is None:
            raise BadAnswer(ErrorKind.PROTOCOL, f"an answer without a finish reason: {sorted(parsed)}")
        _require_usage(answer)

    def _prompt(self, request: PromptRequest) -> dict[str, object]:
        raise NotImplementedError

    def _streamed(self, choice: dict[str, Any]) -> tuple[str, bool]:
        """The event's text, and whether it carries anything generated."""
        raise NotImplementedError

    def _whole_text(self, choice: dict[str, Any]) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Chat(_OpenAi):
    path: ClassVar[str] = "/v1/chat/completions"

    def _prompt(self, request: PromptRequest) -> dict[str, object]:
        return {"messages": [{"role": message.role, "content": message.content} for message in request.messages]}

    def _streamed(self, choice: dict[str, Any]) -> tuple[str, bool]:
        delta = choice.get("delta") or {}
        text = delta.get("content") or ""
        return text, bool(text or delta.get("reasoning_content") or delta.get("tool_calls"))

    def _whole_text(self, choice: dict[str, Any]) -> str:
        return (choice.get("message") or {}).get("content") or ""


@dataclass(frozen=True)
class Completions(_OpenAi):
    path: ClassVar[str] = "/v1/completions"

    def _prompt(self, request: PromptRequest) -> dict[str, object]:
        return {"prompt": request.prompt}

    def _streamed(self, choice: dict[str, Any]) -> tuple[str, bool]:
        text = choice.get("text") or ""
        return text, bool(text)

    def _whole_text(self, choice: dict[str, Any]) -> str:
        return choice.get("text") or ""


def _take_usage(event: dict[str, Any], answer: Answer) -> None:
    usage = event.get("usage")
    if usage:
        answer.prompt_tokens, answer.output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")


def _require_usage(answer: Answer) -> None:
    if answer.output_tokens is None:
        raise BadAnswer(ErrorKind.PROTOCOL, "no usage, so that tokens cannot be counted")
