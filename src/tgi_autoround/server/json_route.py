"""Routes whose bodies are read as strictly as serde_json reads them for TGI."""

import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

DEEPEST = 128
"""Levels of lists and objects in each other that serde_json reads."""


class JsonRequest(Request):
    """Python's own reader takes NaN, lone surrogates and integers of any length; this one does not."""

    async def json(self) -> Any:
        """Return the parsed body. Raises json.JSONDecodeError."""
        body = await self.body()
        value = orjson.loads(body)
        if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deeper(value, DEEPEST):
            raise json.JSONDecodeError("recursion limit exceeded", "", 0)
        return value


class JsonRoute(APIRoute):
    """A route that gets a JsonRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels + 1):
        level = [part for outer in level if isinstance(outer, dict | list) for part in _parts_of(outer)]
        if not level:
            return False
    return True


def _parts_of(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer
