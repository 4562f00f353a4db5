"""JSON of `/v1/completions`."""

from typing import Literal

from pydantic import Field, RootModel, field_validator
from typing_extensions import TypeAliasType

from tgi_autoround.server.schemas.base import U32, U64, RequestModel, ResponseModel, Usage


class Prompt(RootModel[str | list[str]]):
    """One prompt or several."""

    @field_validator("root")
    @classmethod
    def _not_empty(cls, value: str | list[str]) -> str | list[str]:
        if value == []:
            raise ValueError("Empty array detected. Do not use an empty array for the prompt.")
        return value

    @property
    def texts(self) -> list[str]:
        """The prompts as a list."""
        return [self.root] if isinstance(self.root, str) else self.root


class CompletionRequest(RequestModel):
    """Prompts to continue."""

    prompt: Prompt = Field(examples=["What is Deep Learning?"])
    model: str | None = None
    max_tokens: U32 | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool = False
    seed: U64 | None = None
    suffix: str | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None


class CompletionComplete(ResponseModel):
    """A continuation, or a piece of one: `finish_reason` is "" until the last piece."""

    index: int
    text: str
    logprobs: list[float] | None = None
    finish_reason: str


class Chunk(ResponseModel):
    """One event of a streamed continuation."""

    object: Literal["text_completion"] = "text_completion"
    id: str = ""
    created: int
    choices: list[CompletionComplete]
    model: str
    system_fingerprint: str


class CompletionFinal(ResponseModel):
    """The answer of `/v1/completions`, and the last event of each prompt's stream."""

    object: Literal["text_completion"] = "text_completion"
    id: str = ""
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionComplete]
    usage: Usage


# Named alias: TGI's name for the union is part of its OpenAPI document.
Completion = TypeAliasType("Completion", Chunk | CompletionFinal)
