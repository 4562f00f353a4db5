"""JSON of `/v1/chat/completions` and `/chat_tokenize`."""

from typing import Literal

from pydantic import AliasChoices, Field

from tgi_autoround.server.schemas.base import U32, U64, RequestModel, ResponseModel, Usage
from tgi_autoround.server.schemas.grammar import GrammarType
from tgi_autoround.server.schemas.messages import ChatCompletionDelta, Message, OutputMessage
from tgi_autoround.server.schemas.tools import Tool, ToolChoice


class StreamOptions(RequestModel):
    """Options of a streamed answer."""

    include_usage: bool = False


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
    message: OutputMessage
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
    delta: ChatCompletionDelta
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
