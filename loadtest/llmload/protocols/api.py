"""What an API is to the client: a path, a body, and a reader of the answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from loadtest.llmload.record import ErrorKind
from loadtest.llmload.request import PromptRequest

END_MARK = b"[DONE]"
_EXCERPT_CHARACTERS = 200


class BadAnswer(Exception):
    """The HTTP exchange is complete and what it says is no success; what had been read until then stays known."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Answer:
    """What an answer says, gathered while it is read, so that one cut short keeps what came before the cut."""

    text: list[str] = field(default_factory=list)
    token_pieces: list[int] = field(default_factory=list)
    """For each event that carries tokens, the piece of the response that completed it."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None


StreamEvent = tuple[int, bytes]
"""The piece of the response that completed the event, and the event's data."""


class Api(Protocol):
    @property
    def path(self) -> str: ...

    @property
    def streaming(self) -> bool: ...

    def body(self, request: PromptRequest, model: str) -> bytes:
        """The JSON to post. `model` is for APIs whose requests name one."""

    def read_stream(self, events: Iterable[StreamEvent], answer: Answer) -> None:
        """Fill `answer` from a stream. Raises BadAnswer; also where the answer's end is missing."""

    def read_whole(self, body: bytes, headers: Mapping[str, str], answer: Answer) -> None:
        """Fill `answer` from a body that is no stream. Raises BadAnswer."""


def parse_json(data: bytes) -> dict[str, Any]:
    """The object that an event or a body holds. Raises BadAnswer: no object, or the server's report of an error."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadAnswer(ErrorKind.PROTOCOL, f"no JSON: {excerpt(data)!r} ({error})") from None
    if not isinstance(parsed, dict):
        raise BadAnswer(ErrorKind.PROTOCOL, f"no JSON object: {excerpt(data)!r}")
    if "error" in parsed and parsed["error"] is not None:
        raise BadAnswer(ErrorKind.SERVER_ERROR, _error_message(parsed))
    return parsed


def excerpt(data: bytes) -> str:
    return data[:_EXCERPT_CHARACTERS].decode(errors="replace")


def set_fields(**fields: object) -> dict[str, object]:
    """The fields that were given; what is None or empty is left to the server's default."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _error_message(parsed: dict[str, Any]) -> str:
    """OpenAI's errors are objects with a message; TGI's own streams send the message beside its type."""
    error = parsed["error"]
    if isinstance(error, dict):
        return str(error.get("message", error))
    kind = parsed.get("error_type")
    return f"{kind}: {error}" if kind else str(error)
