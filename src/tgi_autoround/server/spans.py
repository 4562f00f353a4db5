"""What is known of one request: the fields of TGI's log line about it, and its trace where one is exported."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from tgi_autoround.engine.request import Finish
from tgi_autoround.server import rust
from tgi_autoround.server.middleware import header
from tgi_autoround.server.schemas.generate import GenerateParameters

if TYPE_CHECKING:
    from tgi_autoround.server.tracing import Trace, Tracing

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
NAMES = {
    CHAT: "chat_completions",
    COMPLETIONS: "completions",
    "/vertex": "vertex_compatibility",
}
"""TGI's names of spans; requests of the other routes are `generate` or `generate_stream`."""
WITHOUT_PARAMETERS = ("completions", "vertex_compatibility")


@dataclass(frozen=True, slots=True)
class Incoming:
    """Where a request came in, and the W3C trace context that it brought."""

    path: str = ""
    traceparent: str | None = None


_incoming: ContextVar[Incoming] = ContextVar("incoming")


def serve_as(path: str) -> None:
    """Take the request that is being served for one of the route at `path`."""
    _incoming.set(replace(_incoming.get(Incoming()), path=path))


class IncomingRequests:
    """Middleware that remembers which request is being served."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request."""
        if scope["type"] == "http":
            _incoming.set(Incoming(scope["path"], header(scope, b"traceparent")))
        await self._app(scope, receive, send)


@dataclass(slots=True)
class Span:
    """One request."""

    name: str
    trace: "Trace | None"
    parameters: GenerateParameters | None
    started_ns: int = field(default_factory=time.time_ns)
    outcome: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, str]:
        """TGI's, in its order and spelling, written out here because without a log or a trace nobody reads them.

        They are the attributes of the trace too.
        """
        parameters = {} if self.parameters is None else {"parameters": rust.struct(self.parameters)}
        return parameters | self.outcome

    def succeed(self, total_s: float, validation_s: float, finish: Finish, seed: int | None) -> None:
        """Record how it went."""
        times = {
            "total_time": total_s,
            "validation_time": validation_s,
            "queue_time": finish.queue_s,
            "inference_time": finish.inference_s,
            "time_per_token": finish.inference_s / finish.generated_tokens,
        }
        self.outcome = {name: rust.duration(seconds) for name, seconds in times.items()}
        self.outcome["seed"] = rust.option(seed)
        if self.trace is not None:
            begin_s = 0.0
            for stage in ("validation", "queue", "inference"):
                self.trace.add_stage(stage, self.started_ns + int(begin_s * 1e9), times[f"{stage}_time"])
                begin_s += times[f"{stage}_time"]


class Spans:
    """Opens the spans of a server's requests."""

    def __init__(self, tracing: "Tracing | None") -> None:
        self._tracing = tracing

    @contextlib.contextmanager
    def request(self, parameters: GenerateParameters, *, streams: bool) -> Iterator[Span]:
        """The span of the request that is being served."""
        incoming = _incoming.get(Incoming())
        name = NAMES.get(incoming.path, "generate_stream" if streams else "generate")
        trace = self._tracing.start(name, incoming.traceparent) if self._tracing else None
        span = Span(name, trace, None if name in WITHOUT_PARAMETERS else parameters)
        try:
            yield span
        except Exception as error:
            if trace is not None:
                trace.fail(error)
            raise
        finally:
            if trace is not None:
                trace.end(span.fields)
