"""Bodies of answers and errors, as JSON and as events."""

from collections.abc import Mapping

from fastapi.responses import Response
from pydantic import BaseModel

from tgi_autoround.server.errors import ApiError
from tgi_autoround.server.schemas.base import ErrorResponse, OpenAIError, OpenAIErrorEvent
from tgi_autoround.server.stream import event

STATUS_IN_OPENAI_EVENTS = 422
"""TGI writes this status into the error events of /v1, whatever the error (router/src/infer/mod.rs, 3.3.7)."""


def json_response(body: BaseModel, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Response:
    """Answer with one JSON object."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def json_list_response(body: BaseModel, headers: Mapping[str, str]) -> Response:
    """Answer with a list of one JSON object, as `/` does."""
    return Response(f"[{body.model_dump_json()}]", 200, headers, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """Answer with TGI's error object."""
    return json_response(_body_of(error), status=error.status)


def error_event(error: ApiError) -> bytes:
    """The event that ends a stream of `/generate_stream` with an error."""
    return event(_body_of(error).model_dump())


def openai_error_event(error: ApiError) -> bytes:
    """The event that tells of an error in a stream of `/v1`."""
    body = OpenAIError(message=str(error), http_status_code=STATUS_IN_OPENAI_EVENTS)
    return event(OpenAIErrorEvent(error=body).model_dump())


def _body_of(error: ApiError) -> ErrorResponse:
    return ErrorResponse(error=str(error), error_type=error.error_type)
