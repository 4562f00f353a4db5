"""What happens before a route: the API key, and bodies that are no JSON or too large."""

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tgi_autoround.server.errors import ClientLeftError

PROTECTED_PATHS = frozenset(
    {
        "/",
        "/generate",
        "/generate_stream",
        "/v1/chat/completions",
        "/v1/completions",
        "/vertex",
        "/invocations",
        "/tokenize",
    }
)


class ApiKey:
    """Answers 401 to a POST without the key, on the routes where TGI asks for it."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PROTECTED_PATHS:
            given = header(scope, b"authorization")
            if given is None or given.lower() != self._expected:
                await Response(status_code=401)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class JsonBody:
    """Reads the body of a POST: 415 where it is not declared to be JSON, 413 where it is too large."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if not _is_json(header(scope, b"content-type")):
            refusal = PlainTextResponse("Expected request with `Content-Type: application/json`", 415)
            await refusal(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ClientLeftError:
            return
        if body is None:
            await PlainTextResponse("Failed to buffer the request body: length limit exceeded", 413)(
                scope, receive, send
            )
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, None where it is too large. Raises ClientLeftError where the client does not finish it."""
        if int(header(scope, b"content-length") or 0) > self._limit_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            body += message.get("body", b"")
            if len(body) > self._limit_bytes:
                return None
            if not message.get("more_body"):
                return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _is_json(content_type: str | None) -> bool:
    essence = (content_type or "").split(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def header(scope: Scope, name: bytes) -> str | None:
    """Return a header of a request, None where it has none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None
