"""Text Generation Inference's own API: /generate and /generate_stream."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from loadtest.llmload.protocols.api import Answer, BadAnswer, StreamEvent, parse_json, set_fields
from loadtest.llmload.record import ErrorKind
from loadtest.llmload.request import PromptRequest


@dataclass(frozen=True)
class Generate:
    streaming: bool

    @property
    def path(self) -> str:
        return "/generate_stream" if self.streaming else "/generate"

    def body(self, request: PromptRequest, model: str) -> bytes:  # noqa: ARG002 (a TGI server has one model)
        sampling = request.sampling
        parameters = set_fields(
            max_new_tokens=request.max_tokens,
            details=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repetition_penalty=sampling.repetition_penalty,
            seed=sampling.seed,
            stop=list(sampling.stop),
            do_sample=True if sampling.temperature is not None else None,
        )
        return orjson.dumps({"inputs": request.prompt, "parameters": parameters})

    def read_stream(self, events: Iterable[StreamEvent], answer: Answer) -> None:
        """Every event is one token, be its text empty; the last one has the details."""
        for piece, data in events:
            event = parse_json(data)
            token = event.get("token")
            if not isinstance(token, dict):
                raise BadAnswer(ErrorKind.PROTOCOL, f"an event without a token: {sorted(event)}")
            answer.token_pieces.append(piece)
            if not token.get("special"):
                answer.text.append(token.get("text", ""))
            if event.get("details"):
                _take_details(event["details"], answer)
        if answer.finish_reason is None:
            count = len(answer.token_pieces)
            raise BadAnswer(ErrorKind.TRUNCATED, f"the stream ended after {count} tokens without details")

    def read_whole(self, body: bytes, headers: Mapping[str, str], answer: Answer) -> None:
        """The prompt's length stands in a header, not in the body."""
        parsed = parse_json(body)
        if not isinstance(parsed.get("details"), dict):
            raise BadAnswer(ErrorKind.PROTOCOL, f"an answer without details: {sorted(parsed)}")
        answer.text.append(parsed.get("generated_text", ""))
        _take_details({"input_length": headers.get("x-prompt-tokens"), **parsed["details"]}, answer)


def _take_details(details: dict[str, Any], answer: Answer) -> None:
    try:
        answer.finish_reason = str(details["finish_reason"])
        answer.output_tokens = int(details["generated_tokens"])
        answer.prompt_tokens = None if details.get("input_length") is None else int(details["input_length"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer(ErrorKind.PROTOCOL, f"details without {error}: {details}") from error
