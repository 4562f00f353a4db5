"""JSON of `/v1/chat/completions` and `/chat_tokenize`."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, model_validator
from typing_extensions import TypeAliasType

from tgi_autoround.server.schemas.base import U32, U64, RequestModel, ResponseModel, Usage
from tgi_autoround.server.schemas.generate import GrammarType


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


class FunctionDefinition(RequestModel):
    """A function that a model may call."""

    description: str | None = None
    name: str
    arguments: Any = Field(validation_alias=AliasChoices("arguments", "parameters"))


class ToolCall(RequestModel):
    """A call a model made earlier in the conversation."""

    id: str
    type: str
    function: FunctionDefinition


class Tool(RequestModel):
    """A tool offered to the model."""

    type: str
    function: FunctionDefinition


class Message(RequestModel):
    """One turn of the conversation: `content` or `tool_calls`."""

    role: str = Field(examples=["user"])
    content: MessageContent | None = Field(default=None, examples=["My name is David and I"])
    tool_calls: list[ToolCall] | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _has_a_body(self) -> "Message":
        if self.content is None and self.tool_calls is None:
            raise ValueError("a message needs `content` or `tool_calls`")
        return self


class StreamOptions(RequestModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class FunctionName(RequestModel):
    """The name of a function."""

    name: str


class TypedChoice(RequestModel):
    """The choice of one function."""

    type: Literal["function"]
    function: FunctionName


ToolChoice = TypeAliasType("ToolChoice", str | TypedChoice)


class ChatRequest(RequestModel):
    """A conversation to continue."""

    messages: list[Message]
    model: str | None = None
    frequency_penalty: float | None = None
    logit_bias: list[float] | None = None
    logprobs: bool | None = None
    top_logprobs: U32 | None = None
    max_tokens: U32 | None = Field(default=None, validation_alias=AliasChoices("max_tokens", "max_completion_tokens"))
    n: U32 | None = None
    presence_penalty: float | None = None
    stop: list[str] | None = None
    stream: bool = False
    seed: U64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[Tool] | None = None
    tool_prompt: str | None = None
    tool_choice: ToolChoice | None = None
    response_format: GrammarType | None = None
    stream_options: StreamOptions | None = None


class TextMessage(ResponseModel):
    """What the model said, or the next piece of it."""

    role: str = "assistant"
    content: str


class ChatCompletionTopLogprob(ResponseModel):
    """An alternative to a token."""

    token: str
    logprob: float


class ChatCompletionLogprob(ResponseModel):
    """A token with its natural log probability."""

    token: str
    logprob: float
    top_logprobs: list[ChatCompletionTopLogprob] = Field(default_factory=list)


class ChatCompletionLogprobs(ResponseModel):
    """Log probabilities of the tokens of an answer or of a piece of it."""

    content: list[ChatCompletionLogprob]


class ChatCompletionComplete(ResponseModel):
    """A whole answer."""

    index: int = 0
    message: TextMessage
    logprobs: ChatCompletionLogprobs | None
    finish_reason: str


class ChatCompletion(ResponseModel):
    """The answer of `/v1/chat/completions`."""

    object: Literal["chat.completion"] = "chat.completion"
    id: str = ""
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatCompletionComplete]
    usage: Usage


class ChatCompletionChoice(ResponseModel):
    """A piece of an answer."""

    index: int = 0
    delta: TextMessage
    logprobs: ChatCompletionLogprobs | None
    finish_reason: str | None


class ChatCompletionChunk(ResponseModel):
    """One event of a streamed answer; the one with `usage`, if asked for, has no choices."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    id: str = ""
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatCompletionChoice]
    usage: Usage | None = None
