"""Server-Sent Events as TGI frames them, and the end of work whose client has left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tgi_autoround.server.errors import ClientLeftError
from tgi_autoround.server.tasks import end_tasks

KEEP_ALIVE_INTERVAL_S = 15.0
KEEP_ALIVE = b":\n\n"
DONE = b"data: [DONE]\n\n"

Result = TypeVar("Result")
Events = AsyncGenerator[bytes, None]


def event(data: Mapping[str, Any]) -> bytes:
    """Frame one event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


class EventStream(Response):
    """Sends `events`; closes them at once when the client leaves, and keeps a silent connection open."""

    def __init__(self, events: Events, headers: Mapping[str, str]) -> None:
        super().__init__(headers={"content-type": "text/event-stream", "cache-control": "no-cache", **headers})
        del self.headers["content-length"]
        self._events = events
        self._sent_at = 0.0

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        self._sent_at = time.monotonic()
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_left(receive))
        pulse = asyncio.create_task(self._pulse(send))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            await end_tasks(writing, leaving, pulse)
            await self._events.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        async for data in self._events:
            await self._send(send, data)

    async def _pulse(self, send: Send) -> None:
        while True:
            await asyncio.sleep(self._sent_at + KEEP_ALIVE_INTERVAL_S - time.monotonic())
            if time.monotonic() - self._sent_at >= KEEP_ALIVE_INTERVAL_S:
                await self._send(send, KEEP_ALIVE)

    async def _send(self, send: Send, data: bytes) -> None:
        self._sent_at = time.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`; when the client leaves, cancel it and raise ClientLeftError."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError
        return working.result()
    finally:
        await end_tasks(working, leaving)


async def merged(streams: Sequence[Events]) -> Events:
    """Yield the events of several streams as they come."""
    events: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def pump(stream: Events) -> None:
        try:
            async with contextlib.aclosing(stream):
                async for data in stream:
                    events.put_nowait(data)
        finally:
            events.put_nowait(None)

    pumps = [asyncio.create_task(pump(stream)) for stream in streams]
    running = len(pumps)
    try:
        while running:
            data = await events.get()
            if data is None:
                running -= 1
            else:
                yield data
        for pumped in pumps:
            pumped.result()
    finally:
        await end_tasks(*pumps)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
