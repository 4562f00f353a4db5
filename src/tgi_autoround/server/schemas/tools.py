"""JSON of tools that a model may call, and of its calls."""

from typing import Any, Literal

import orjson
from pydantic import AliasChoices, Field, field_serializer
from typing_extensions import TypeAliasType

from tgi_autoround.server.schemas.base import RequestModel, ResponseModel


class FunctionDefinition(RequestModel):
    """A function with the schema of its arguments, or a call of it with their values; written, they are a string."""

    description: str | None = None
    name: str
    arguments: Any = Field(validation_alias=AliasChoices("arguments", "parameters"))

    @field_serializer("arguments")
    def _as_text(self, value: Any) -> str:
        return orjson.dumps(value).decode()


class Tool(RequestModel):
    """A tool offered to the model."""

    type: str
    function: FunctionDefinition


class ToolCall(RequestModel):
    """A call the model makes, or made earlier in the conversation."""

    id: str
    type: str
    function: FunctionDefinition


class FunctionName(RequestModel):
    """The name of a function."""

    name: str


class TypedChoice(RequestModel):
    """The choice of one function."""

    type: Literal["function"]
    function: FunctionName


# Named alias: TGI's name for the union is part of its OpenAPI document.
ToolChoice = TypeAliasType("ToolChoice", str | TypedChoice)


class ToolCallMessage(ResponseModel):
    """The model's answer where it is a call."""

    role: str = "assistant"
    tool_calls: list[ToolCall]


class Function(ResponseModel):
    """A piece of a call: its name comes in the first one, its arguments in all."""

    name: str | None
    arguments: str


class DeltaToolCall(ResponseModel):
    """A piece of a call in a stream."""

    index: int = 0
    id: str
    type: str = "function"
    function: Function


class ToolCallDelta(ResponseModel):
    """The next piece of the model's answer where it is a call."""

    role: str = "assistant"
    tool_calls: list[DeltaToolCall]
