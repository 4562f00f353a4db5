"""A stream that is silent for long is kept open with comments, as axum does for TGI."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tgi_autoround.server import stream


def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_INTERVAL_S", 0.05)
    *silence, one, two, end = _sent(_events(0.5, 0.0))
    assert (one, two, end) == (b"one", b"two", b"")
    assert len(silence) >= 2
    assert set(silence) == {b":\n\n"}


def test_a_lively_stream_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_INTERVAL_S", 10.0)
    assert _sent(_events(0.0, 0.02)) == [b"one", b"two", b""]


async def _events(before_one_s: float, before_two_s: float) -> AsyncGenerator[bytes, None]:
    await asyncio.sleep(before_one_s)
    yield b"one"
    await asyncio.sleep(before_two_s)
    yield b"two"


def _sent(events: AsyncGenerator[bytes, None]) -> list[bytes]:
    bodies: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nobody leaves")

    async def answer() -> None:
        await stream.EventStream(events, {})({"type": "http"}, receive, send)

    asyncio.run(answer())
    return bodies
