"""What is answered: words of a fixed text as tokens, in the shapes of the APIs, each event with its emit stamp."""

import json
import time
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from loadtest.mock.http import Request

TEXT = "The quick brown fox jumps over the lazy dog while a small grey cat sleeps by the warm stove"
OVERLOADED = "Model is overloaded"
DEFAULT_MAX_TOKENS = 100


def event(data: dict[str, Any]) -> bytes:
    """One event, with the times at which it leaves the server by both clocks of the machine."""
    stamped = {**data, "emitted_unix_ns": time.time_ns(), "emitted_monotonic_ns": time.monotonic_ns()}
    return b"data: " + json.dumps(stamped, separators=(",", ":")).encode() + b"\n\n"


def words(count: int) -> list[str]:
    return [word if place == 0 else f" {word}" for place, word in enumerate(islice(cycle(TEXT.split()), count))]


def count_tokens(text: str) -> int:
    """The mock's tokens are words."""
    return len(text.split())


def chat_text(body: dict[str, Any]) -> str:
    """The mock's chat template: each message's role and content."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in body.get("messages", ()))


@dataclass(frozen=True)
class Asked:
    """A request for tokens, whichever API it came by."""

    api: str
    streaming: bool
    prompt_tokens: int
    max_tokens: int

    @staticmethod
    def of(request: Request) -> "Asked | None":
        """None for a path that generates nothing."""
        body = request.body
        if request.path in ("/generate", "/generate_stream"):
            limit = (body.get("parameters") or {}).get("max_new_tokens") or DEFAULT_MAX_TOKENS
            return Asked("tgi", request.path == "/generate_stream", count_tokens(body.get("inputs", "")), limit)
        if request.path == "/v1/chat/completions":
            prompt = chat_text(body)
        elif request.path == "/v1/completions":
            prompt = str(body.get("prompt", ""))
        else:
            return None
        api = "chat" if "chat" in request.path else "completions"
        return Asked(api, bool(body.get("stream")), count_tokens(prompt), body.get("max_tokens") or DEFAULT_MAX_TOKENS)

    def token(self, index: int, text: str, last: bool, generated: str) -> bytes:
        if self.api == "tgi":
            token = {"id": index, "text": text, "logprob": -0.5, "special": False}
            details = self._details(index + 1) if last else None
            ending = {"generated_text": generated if last else None, "details": details}
            return event({"index": index + 1, "token": token, **ending})
        delta = {"delta": {"role": "assistant", "content": text}} if self.api == "chat" else {"text": text}
        choice = {"index": 0, **delta, "logprobs": None, "finish_reason": "length" if last else None}
        return event({"object": f"{self.api}.chunk", "model": "mock", "choices": [choice]})

    def ending(self, count: int) -> bytes:
        """What follows the last token."""
        if self.api == "tgi":
            return b""
        return event({"object": f"{self.api}.chunk", "choices": [], "usage": self._usage(count)}) + b"data: [DONE]\n\n"

    def error(self) -> bytes:
        if self.api == "tgi":
            return event({"error": OVERLOADED, "error_type": "overloaded"})
        return event({"error": {"message": OVERLOADED, "http_status_code": 422}}) + b"data: [DONE]\n\n"

    def whole(self, tokens: list[str]) -> bytes:
        text = "".join(tokens)
        if self.api == "tgi":
            return json.dumps({"generated_text": text, "details": self._details(len(tokens))}).encode()
        content = {"message": {"role": "assistant", "content": text}} if self.api == "chat" else {"text": text}
        choice = {"index": 0, **content, "finish_reason": "length"}
        return json.dumps({"model": "mock", "choices": [choice], "usage": self._usage(len(tokens))}).encode()

    def _details(self, count: int) -> dict[str, Any]:
        return {"finish_reason": "length", "generated_tokens": count, "seed": None, "input_length": self.prompt_tokens}

    def _usage(self, count: int) -> dict[str, int]:
        total = self.prompt_tokens + count
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": count, "total_tokens": total}
