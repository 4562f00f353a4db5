"""JSON of `/`, `/generate`, `/generate_stream` and `/tokenize`."""

from typing import Annotated

from pydantic import Field, RootModel

from tgi_autoround.engine.request import FinishReason
from tgi_autoround.server.schemas.base import U32, U64, RequestModel, ResponseModel, is_empty
from tgi_autoround.server.schemas.grammar import GrammarType


class GenerateParameters(RequestModel):
    """How to generate; null leaves a field at its neutral value."""

    best_of: U64 | None = None
    temperature: float | None = Field(default=None, examples=[0.5])
    repetition_penalty: float | None = Field(default=None, examples=[1.03])
    frequency_penalty: float | None = Field(default=None, examples=[0.1])
    top_k: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = Field(default=None, examples=[10])
    top_p: float | None = Field(default=None, examples=[0.95])
    typical_p: float | None = Field(default=None, examples=[0.95])
    do_sample: bool = False
    max_new_tokens: U32 | None = Field(default=None, examples=[20])
    return_full_text: bool | None = None
    stop: list[str] = Field(default_factory=list, examples=[["photographer"]])
    truncate: U64 | None = None
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: U64 | None = None
    top_n_tokens: U32 | None = None
    grammar: GrammarType | None = None
    adapter_id: str | None = None


def _default_parameters() -> GenerateParameters:
    """TGI samples when a request has no `parameters` at all, and is greedy when it has an empty one."""
    return GenerateParameters(do_sample=True)


class GenerateRequest(RequestModel):
    """A prompt and how to continue it."""

    inputs: str = Field(examples=["My name is Olivier and I"])
    parameters: GenerateParameters = Field(default_factory=_default_parameters)


class CompatGenerateRequest(GenerateRequest):
    """The request of `/`, which streams if told to."""

    stream: bool = False


class PrefillToken(ResponseModel):
    """A token of the prompt; `logprob` is null for the first, which nothing precedes."""

    id: int
    text: str
    logprob: float | None


class Token(ResponseModel):
    """A generated token."""

    id: int
    text: str
    logprob: float
    special: bool


class BestOfSequence(ResponseModel):
    """A generation that was not the best of those asked for."""

    generated_text: str
    finish_reason: FinishReason
    generated_tokens: int
    seed: int | None
    prefill: list[PrefillToken]
    tokens: list[Token]
    top_tokens: list[list[Token]] = Field(default_factory=list, exclude_if=is_empty)


class Details(ResponseModel):
    """How a generation went; `seed` is null for greedy decoding."""

    finish_reason: FinishReason
    generated_tokens: int
    seed: int | None
    prefill: list[PrefillToken]
    tokens: list[Token]
    best_of_sequences: list[BestOfSequence] | None = Field(default=None, exclude_if=is_empty)
    top_tokens: list[list[Token]] = Field(default_factory=list, exclude_if=is_empty)


class GenerateResponse(ResponseModel):
    """The answer of `/generate`; `details` is left out unless asked for."""

    generated_text: str
    details: Details | None = Field(default=None, exclude_if=is_empty)


class StreamDetails(ResponseModel):
    """How a streamed generation went."""

    finish_reason: FinishReason
    generated_tokens: int
    seed: int | None
    input_length: int


class StreamResponse(ResponseModel):
    """One event of `/generate_stream`; the last one has `generated_text`. `index` counts from 1."""

    index: int
    token: Token
    top_tokens: list[Token] = Field(default_factory=list, exclude_if=is_empty)
    generated_text: str | None = None
    details: StreamDetails | None = None


class SimpleToken(ResponseModel):
    """A token of a prompt and the range of the prompt's UTF-8 bytes it covers."""

    id: int
    text: str
    start: int
    stop: int


class TokenizeResponse(RootModel[list[SimpleToken]]):
    """The answer of `/tokenize`."""


class ChatTokenizeResponse(ResponseModel):
    """The answer of `/chat_tokenize`."""

    tokenize_response: TokenizeResponse
    templated_text: str
