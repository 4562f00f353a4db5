"""Bodies that do not fit a route's schema: plain text with the statuses and openings that axum uses for TGI."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from tgi_autoround.server.context import context_of
from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.responses import error_response

CLIENT_CLOSED_REQUEST = 499


async def on_api_error(request: Request, error: Exception) -> Response:
    """Count the error and answer with TGI's JSON."""
    if not isinstance(error, ApiError):
        raise error
    context_of(request).count_failure(error)
    return error_response(error)


async def on_wrong_body(_request: Request, error: Exception) -> Response:
    """Say which field is wrong."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        return _not_json(f"{first['ctx']['error']} at character {where}")
    if not where and first["type"] == "missing":
        return _not_json("EOF while parsing a value at character 0")
    text = _describe(first, where)
    return PlainTextResponse(f"Failed to deserialize the JSON body into the target type: {text}", 422)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer 404 and 405 without a body, as axum does."""
    if not isinstance(error, HTTPException):
        raise error
    return Response(status_code=error.status_code, headers=error.headers)


async def on_client_left(_request: Request, _error: Exception) -> Response:
    """End a request that nobody waits for."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _not_json(reason: str) -> Response:
    return PlainTextResponse(f"Failed to parse the request body as JSON: {reason}", 400)


def _describe(error: Mapping[str, Any], where: str) -> str:
    location: Sequence[Any] = error["loc"]
    if error["type"] == "missing":
        return f"missing field `{location[-1]}`"
    return f"{where}: {error['msg']}" if where else str(error["msg"])
