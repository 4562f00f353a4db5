"""The mock server: one connection after another request, in asyncio."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, suppress
from enum import Enum
from http import HTTPStatus

from loadtest.mock.answers import OVERLOADED, Asked, words
from loadtest.mock.http import STREAM_END, STREAM_HEAD, Request, chunk, read_request, whole
from loadtest.mock.plain import plain_answer
from loadtest.mock.settings import Settings


class Fate(str, Enum):
    """What becomes of a request."""

    SUCCESS = "success"
    ERROR = "error"
    HTTP_ERROR = "http_error"
    DROP = "drop"
    TRUNCATE = "truncate"


class Dropped(Exception):
    """The connection has to be closed as it is."""


class MockServer:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)
        self._slots = asyncio.Semaphore(settings.slots) if settings.slots else None
        self._first_request_s: float | None = None
        self.counts: Counter[str] = Counter()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, Dropped):
            while (request := await read_request(reader)) is not None:
                await self._answer(request, writer)
                await writer.drain()
        writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        asked = Asked.of(request)
        if asked is None:
            writer.write(plain_answer(request, self.counts))
            return
        self._first_request_s = self._first_request_s or asyncio.get_running_loop().time()
        fate = self._fate()
        self.counts["tgi_request_count"] += 1
        async with AsyncExitStack() as held:
            await self._hold_slot(held)
            await self._sleep_ms(self._ttft_ms(asked))
            await self._generate(asked, fate, writer)
        self.counts["tgi_request_success" if fate is Fate.SUCCESS else "tgi_request_failure"] += 1

    async def _hold_slot(self, held: AsyncExitStack) -> None:
        if self._slots is not None:
            self.counts["tgi_queue_size"] += 1
            await held.enter_async_context(self._slots)
            self.counts["tgi_queue_size"] -= 1
        self.counts["tgi_batch_current_size"] += 1
        held.callback(self.counts.subtract, ["tgi_batch_current_size"])

    async def _generate(self, asked: Asked, fate: Fate, writer: asyncio.StreamWriter) -> None:
        tokens = words(min(asked.max_tokens, self._settings.tokens or asked.max_tokens))
        if fate is Fate.HTTP_ERROR:
            writer.write(whole(f'{{"error":"{OVERLOADED}"}}'.encode(), HTTPStatus.SERVICE_UNAVAILABLE))
        elif asked.streaming:
            await self._stream(asked, fate, tokens, writer)
        else:
            await self._sleep_ms(self._settings.itl_ms * (len(tokens) - 1))
            if fate is Fate.DROP:
                raise Dropped
            writer.write(whole(asked.whole(tokens), x_prompt_tokens=asked.prompt_tokens))

    async def _stream(self, asked: Asked, fate: Fate, tokens: list[str], writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        if fate is Fate.ERROR:
            writer.write(chunk(asked.error()) + STREAM_END)
            return
        kept = tokens if fate is Fate.SUCCESS else tokens[: (len(tokens) + 1) // 2]
        for index, text in enumerate(kept):
            if index:
                await self._sleep_ms(self._settings.itl_ms)
            if writer.is_closing():
                raise Dropped  # the client has gone
            last = index == len(tokens) - 1 and fate is Fate.SUCCESS
            writer.write(chunk(asked.token(index, text, last, "".join(tokens))))
        if fate is Fate.DROP:
            await writer.drain()
            raise Dropped
        ending = asked.ending(len(tokens)) if fate is Fate.SUCCESS else b""
        writer.write((chunk(ending) if ending else b"") + STREAM_END)

    def _ttft_ms(self, asked: Asked) -> float:
        return self._settings.ttft_ms + self._settings.ttft_per_prompt_token_ms * asked.prompt_tokens

    async def _sleep_ms(self, duration_ms: float) -> None:
        """Sleep; when a stall has begun meanwhile, until its end at least."""
        await asyncio.sleep(duration_ms / 1000)
        if self._settings.stall_s and self._first_request_s is not None:
            since_s = asyncio.get_running_loop().time() - self._first_request_s - self._settings.stall_at_s
            if 0 <= since_s < self._settings.stall_s:
                await asyncio.sleep(self._settings.stall_s - since_s)

    def _fate(self) -> Fate:
        settings, drawn = self._settings, self._random.random()
        for fate, rate in (
            (Fate.ERROR, settings.error_rate),
            (Fate.HTTP_ERROR, settings.http_error_rate),
            (Fate.DROP, settings.drop_rate),
            (Fate.TRUNCATE, settings.truncate_rate),
        ):
            if drawn < rate:
                return fate
            drawn -= rate
        return Fate.SUCCESS


async def serve(settings: Settings) -> None:
    server = await asyncio.start_server(MockServer(settings).handle, settings.host, settings.port, backlog=4096)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"listening on http://{host}:{port}", flush=True)  # noqa: T201
    async with server:
        await server.serve_forever()
