"""One request by the client under test."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from loadtest.llmload.client import Client, Sender
from loadtest.llmload.clock import RunClock
from loadtest.llmload.http1 import Target
from loadtest.llmload.record import Record
from loadtest.llmload.request import Message, PromptRequest, ProtocolName

REQUEST = PromptRequest(
    request_id="r0",
    index=0,
    scenario="test",
    protocol="openai-chat-stream",
    max_tokens=8,
    prompt="What is a list?",
    messages=(Message("user", "What is a list?"),),
)


@contextmanager
def client_of(url: str, **target: float | str) -> Iterator[Client]:
    client = Client(Target.from_url(url, **target), RunClock(time.time_ns()), Sender("w0"))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        client.close()


def ask(url: str, protocol: ProtocolName = "openai-chat-stream", **target: float | str) -> Record:
    with client_of(url, **target) as client:
        return client.send(replace(REQUEST, protocol=protocol))[0]
