"""The OpenAPI document: what every generating route may answer, and the events of streams."""

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from tgi_autoround.server.schemas.base import ErrorResponse, OpenAIErrorEvent
from tgi_autoround.server.schemas.chat import ChatCompletionChunk
from tgi_autoround.server.schemas.completions import Chunk, Completion
from tgi_autoround.server.schemas.generate import StreamResponse
from tgi_autoround.server.schemas.platforms import SagemakerStreamResponse

TAG = "Text Generation Inference"

Responses = dict[int | str, dict[str, Any]]
REFERENCE = "#/components/schemas/{model}"
STREAMED: dict[str, Any] = {
    "StreamResponse": StreamResponse,
    "ChatCompletionChunk": ChatCompletionChunk,
    "Chunk": Chunk,
    "Completion": Completion,
    "SagemakerStreamResponse": SagemakerStreamResponse,
    "ErrorResponse": ErrorResponse,
    "OpenAIErrorEvent": OpenAIErrorEvent,
}
"""What the events of streams hold: FastAPI describes only what a route answers in one piece."""

PLAIN_TEXT = {"text/plain": {"schema": {"type": "string"}}}
VALIDATION_ERROR: Responses = {
    400: {"description": "The body is no JSON", "content": PLAIN_TEXT},
    401: {"description": "The API key is missing or wrong"},
    413: {"description": "The body is larger than --payload-limit", "content": PLAIN_TEXT},
    415: {"description": "The body is not declared to be JSON", "content": PLAIN_TEXT},
    422: {"model": ErrorResponse, "description": "Input validation error", "content": PLAIN_TEXT},
}
GENERATION_ERRORS: Responses = {
    **VALIDATION_ERROR,
    424: {"model": ErrorResponse, "description": "Generation error"},
    429: {"model": ErrorResponse, "description": "Model is overloaded"},
    500: {"model": ErrorResponse, "description": "Incomplete generation"},
}


def streaming(*events: str) -> Responses:
    """Return what a route may answer whose stream has events of the schemas that STREAMED names."""
    schema = {"anyOf": [{"$ref": REFERENCE.format(model=name)} for name in events]}
    return {**GENERATION_ERRORS, 200: {"content": {"text/event-stream": {"schema": schema}}}}


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document has the schemas of streams too."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"] |= _streamed_schemas()
        return super().openapi()


def _streamed_schemas() -> dict[str, Any]:
    adapters: list[tuple[str, Any, TypeAdapter[Any]]] = [
        (name, "validation", TypeAdapter(streamed)) for name, streamed in STREAMED.items()
    ]
    _, whole = TypeAdapter.json_schemas(adapters, ref_template=REFERENCE)
    schemas: dict[str, Any] = whole["$defs"]
    return schemas
