"""JSON of the turns of a conversation."""

from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from typing_extensions import TypeAliasType

from tgi_autoround.server.schemas.base import RequestModel, ResponseModel, is_empty
from tgi_autoround.server.schemas.tools import ToolCall, ToolCallDelta, ToolCallMessage


class Url(RequestModel):
    """Where an image is."""

    url: str


class TextChunk(RequestModel):
    """Text of a message given in parts."""

    type: Literal["text"]
    text: str


class ImageUrlChunk(RequestModel):
    """An image of a message given in parts."""

    type: Literal["image_url"]
    image_url: Url


# Named aliases: TGI's names for these unions are part of its OpenAPI document.
MessageChunk = TypeAliasType("MessageChunk", Annotated[TextChunk | ImageUrlChunk, Field(discriminator="type")])
MessageContent = TypeAliasType("MessageContent", str | list[MessageChunk])


class ContentBody(RequestModel):
    """What was said."""

    content: MessageContent = Field(examples=["My name is David and I"])


class ToolCallsBody(RequestModel):
    """What was called instead of saying something."""

    tool_calls: list[ToolCall]


MessageBody = TypeAliasType("MessageBody", Annotated[ContentBody | ToolCallsBody, Field(union_mode="left_to_right")])


class Message(RequestModel):
    """One turn of the conversation; in JSON the fields of `body` stand beside the others."""

    role: str = Field(examples=["user"])
    name: str | None = None
    body: MessageBody

    @model_validator(mode="before")
    @classmethod
    def _gather_body(cls, fields: Any) -> Any:
        return {**fields, "body": fields} if isinstance(fields, dict) else fields

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the JSON as it is written: the body's fields and the others in one object."""
        described = handler(schema)
        own = handler.resolve_ref_schema(described)
        body = own["properties"].pop("body")
        own["required"].remove("body")
        whole = {"title": own.pop("title"), "description": own.pop("description"), "allOf": [body, {**own}]}
        own.clear()
        own.update(whole)
        return described


class TextMessage(ResponseModel):
    """What the model said, or the next piece of it."""

    role: str = "assistant"
    content: str
    tool_call_id: str | None = Field(default=None, exclude_if=is_empty)


OutputMessage = TypeAliasType("OutputMessage", TextMessage | ToolCallMessage)
ChatCompletionDelta = TypeAliasType("ChatCompletionDelta", TextMessage | ToolCallDelta)
