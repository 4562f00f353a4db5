"""Errors of the HTTP API, each with TGI's status, `error_type` and wording."""


class ApiError(Exception):
    """A request that gets an error; `counted_as` is the label `err` of `tgi_request_failure`."""

    status = 500
    error_type = "incomplete_generation"
    counted_as = "incomplete"
    prefix = ""

    def __init__(self, message: str) -> None:
        super().__init__(self.prefix + message)


class ValidationError(ApiError):
    """A parameter or the prompt is not acceptable."""

    status = 422
    error_type = "validation"
    counted_as = "validation"
    prefix = "Input validation error: "


class TemplateError(ApiError):
    """The chat template is missing or refuses the messages."""

    status = 422
    error_type = "template_error"
    counted_as = "template"
    prefix = "Template error: "


class ToolError(ApiError):
    """The tools of a chat request cannot be used."""

    status = 422
    error_type = "tool_error"
    counted_as = "validation"
    prefix = "Tool error: "


class SuffixError(ApiError):
    """`/v1/completions` was given a suffix."""

    status = 422
    error_type = "suffix not supported"
    counted_as = "validation"


class BatchSizeError(ApiError):
    """`/v1/completions` was given too many prompts."""

    status = 422
    error_type = "batch size exceeded"
    counted_as = "validation"


class OverloadedError(ApiError):
    """As many requests as allowed are in progress."""

    status = 429
    error_type = "overloaded"
    counted_as = "overloaded"

    def __init__(self) -> None:
        super().__init__("Model is overloaded")


class GenerationError(ApiError):
    """The engine failed."""

    status = 424
    error_type = "generation"
    counted_as = "generation"
    prefix = "Request failed during generation: "


class EmptyVertexError(ApiError):
    """`/vertex` was given no instances; the words are TGI's (router/src/vertex.rs, 3.3.7)."""

    status = 422
    error_type = "Input validation error"
    counted_as = "validation"

    def __init__(self) -> None:
        super().__init__("Input validation error")


class VertexError(ApiError):
    """One of `/vertex`'s instances failed, whatever the cause, which the log has."""

    error_type = "Incomplete generation"

    def __init__(self, cause: ApiError) -> None:
        super().__init__("Incomplete generation")
        self.counted_as = cause.counted_as


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""
