"""One streaming chat completion, timed."""

import time
from typing import Any

import orjson
from gevent.socket import error as SocketError
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError, HTTPSocketResponse
from llmload.chat_record import Record
from llmload.sse import event_data

CHAT_PATH = "/v1/chat/completions"


class RequestFailed(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ChatClient:
    """A client with one kept-alive connection; not to be shared between greenlets."""

    def __init__(self, base_url: str, timeout_s: float = 120.0) -> None:
        self._http = HTTPClient.from_url(base_url, network_timeout=timeout_s, connection_timeout=timeout_s)

    def ask(self, question: str, max_tokens: int) -> Record:
        """Ask, read the answer to its end, and never raise for what the server or the network did."""
        answer = _Answer()
        failure: RequestFailed | None = None
        try:
            self._converse(_payload(question, max_tokens), answer)
        except RequestFailed as error:
            failure = error
        except (SocketError, HTTPParseError) as error:
            failure = RequestFailed("connection", f"{type(error).__name__}: {error}")
        return answer.record(failure)

    def close(self) -> None:
        self._http.close()

    def _converse(self, payload: bytes, answer: "_Answer") -> None:
        response = self._http.post(CHAT_PATH, body=payload, headers={"Content-Type": "application/json"})
        if response.status_code != 200:
            raise RequestFailed("http", f"HTTP {response.status_code}: {_excerpt(response)}")
        for data in event_data(response):
            if data == b"[DONE]":
                answer.done = True
            else:
                answer.take(orjson.loads(data))
        if not answer.done or answer.finish_reason is None:
            raise RequestFailed("truncated", f"the stream ended after {len(answer.text_times_s)} text events")
        if answer.usage is None:
            raise RequestFailed("stream", "the server sent no usage, so tokens cannot be counted")


class _Answer:
    def __init__(self) -> None:
        self.started_unix_s = time.time()
        self._started_s = time.perf_counter()
        self.text_times_s: list[float] = []
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        self.done = False

    def take(self, event: dict[str, Any]) -> None:
        arrived_s = self._elapsed_s()
        if "error" in event:
            raise RequestFailed("stream", _error_message(event))
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", ()):
            if choice["delta"].get("content"):
                self.text_times_s.append(arrived_s)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def record(self, failure: RequestFailed | None) -> Record:
        usage = self.usage or {}
        return Record(
            started_unix_s=self.started_unix_s,
            end_s=self._elapsed_s(),
            text_times_s=tuple(self.text_times_s),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            finish_reason=self.finish_reason,
            error_kind=failure.kind if failure else None,
            error=str(failure) if failure else None,
        )

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s


def _payload(question: str, max_tokens: int) -> bytes:
    return orjson.dumps(
        {
            "model": "tgi",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def _excerpt(response: HTTPSocketResponse) -> str:
    return response.read()[:200].decode(errors="replace")


def _error_message(event: dict[str, Any]) -> str:
    """TGI's chat errors are objects with a message; its other streams send the message itself."""
    error = event["error"]
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
