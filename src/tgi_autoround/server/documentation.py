"""What the OpenAPI document says about every generating route."""

from typing import Any

from tgi_autoround.server.schemas.base import ErrorResponse

TAG = "Text Generation Inference"

GENERATION_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorResponse, "description": "Input validation error"},
    424: {"model": ErrorResponse, "description": "Generation error"},
    429: {"model": ErrorResponse, "description": "Model is overloaded"},
    500: {"model": ErrorResponse, "description": "Incomplete generation"},
}

VALIDATION_ERROR: dict[int | str, dict[str, Any]] = {422: GENERATION_ERRORS[422]}
