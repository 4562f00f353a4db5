"""JSON of the routes that cloud platforms call: SageMaker's `/invocations`, Vertex AI's `/vertex`."""

from typing import Annotated

from pydantic import Field, RootModel
from typing_extensions import TypeAliasType

from tgi_autoround.server.schemas.base import RequestModel, ResponseModel
from tgi_autoround.server.schemas.chat import ChatCompletion, ChatCompletionChunk, ChatRequest
from tgi_autoround.server.schemas.completions import Chunk, CompletionFinal, CompletionRequest
from tgi_autoround.server.schemas.generate import (
    CompatGenerateRequest,
    GenerateParameters,
    GenerateResponse,
    StreamResponse,
)

# The first that fits is taken, as serde does for TGI.
FirstFit = Field(union_mode="left_to_right")


class SagemakerRequest(RootModel[Annotated[CompatGenerateRequest | ChatRequest | CompletionRequest, FirstFit]]):
    """The body of `/`, of `/v1/chat/completions` or of `/v1/completions`."""


SagemakerResponse = TypeAliasType("SagemakerResponse", list[GenerateResponse] | ChatCompletion | CompletionFinal)
SagemakerStreamResponse = TypeAliasType("SagemakerStreamResponse", StreamResponse | ChatCompletionChunk | Chunk)


class GenerateVertexInstance(RequestModel):
    """A prompt; of its parameters, `max_new_tokens` and `seed` count, as in TGI."""

    inputs: str = Field(examples=["What is Deep Learning?"])
    parameters: GenerateParameters | None = None


VertexInstance = TypeAliasType("VertexInstance", Annotated[GenerateVertexInstance | ChatRequest, FirstFit])


class VertexRequest(RequestModel):
    """Prompts and conversations to continue, each on its own."""

    instances: list[VertexInstance]


class VertexResponse(ResponseModel):
    """The generated texts, in the order of the instances."""

    predictions: list[str]
