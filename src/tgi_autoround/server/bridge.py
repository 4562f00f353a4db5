"""From the engine's thread to asyncio, and from a client that leaves back to the engine."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from tgi_autoround.engine import Engine, Failure, Output, Request
from tgi_autoround.errors import EngineError
from tgi_autoround.server.errors import GenerationError, OverloadedError
from tgi_autoround.server.metrics import Metrics


class Bridge:
    """Runs requests on the engine, at most `max_concurrent_requests` at a time (used on one event loop)."""

    def __init__(self, engine: Engine, max_concurrent_requests: int, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._places = max_concurrent_requests
        self._taken_places = 0

    def healthy(self) -> bool:
        """Whether the engine works."""
        return self._engine.healthy()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for requests. Raises OverloadedError when none is free: nobody waits here."""
        if self._taken_places >= self._places:
            raise OverloadedError
        self._taken_places += 1
        try:
            yield
        finally:
            self._taken_places -= 1

    def stop(self, request: Request) -> None:
        """End a request of which the server itself wants no more, which `outputs` does not count as dropped."""
        self._engine.cancel(request)

    async def outputs(self, request: Request) -> AsyncGenerator[Output, None]:
        """Run `request` and yield its outputs; leaving the iteration early cancels it in the engine.

        Raises GenerationError when the engine fails.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Output | Failure] = asyncio.Queue()

        def deliver(event: Output | Failure) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            self._engine.submit(request, deliver)
        except EngineError as error:
            raise GenerationError(str(error)) from error
        ended = False
        try:
            while not ended:
                event = await events.get()
                ended = isinstance(event, Failure) or event.finish is not None
                if isinstance(event, Failure):
                    raise GenerationError(event.message)
                yield event
        finally:
            if not ended and not request.cancelled:
                self._engine.cancel(request)
                self._metrics.on_failure("dropped")
