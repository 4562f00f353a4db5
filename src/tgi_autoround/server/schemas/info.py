"""JSON of `/info` and `/v1/models`."""

from typing import Literal

from tgi_autoround.server.schemas.base import ResponseModel


class Info(ResponseModel):
    """What is served and within which limits."""

    model_id: str
    model_sha: str | None
    model_pipeline_tag: str | None
    max_concurrent_requests: int
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_total_tokens: int
    validation_workers: int
    max_client_batch_size: int
    router: str
    version: str
    sha: str | None
    docker_label: str | None


class ModelInfo(ResponseModel):
    """One entry of the list of models."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelsInfo(ResponseModel):
    """The list of models: the one that is served."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]
