"""What all of TGI's JSON objects have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

U32 = Annotated[int, Field(ge=0, lt=2**32)]
U64 = Annotated[int, Field(ge=0, lt=2**64)]


class RequestModel(BaseModel):
    """A request's JSON: types are not coerced and unknown fields are ignored, as serde does for TGI."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


class ResponseModel(BaseModel):
    """A response's JSON."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def is_empty(value: object) -> bool:
    """Whether TGI leaves a field with this value out of its JSON."""
    return not value


class ErrorResponse(ResponseModel):
    """The body of every error that the handlers raise."""

    error: str
    error_type: str


class Usage(ResponseModel):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int) -> "Usage":
        """Add the total."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
        )


class OpenAIError(ResponseModel):
    """What went wrong in a stream of `/v1`."""

    message: str
    http_status_code: int


class OpenAIErrorEvent(ResponseModel):
    """The event of an error in a stream of `/v1`."""

    error: OpenAIError
