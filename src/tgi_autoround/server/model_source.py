"""`--model-id` -> a directory with the checkpoint, downloaded first if it is a hub id."""

import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tgi_autoround.errors import ConfigError
from tgi_autoround.server.settings import ServeConfig

SERVED_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py"]


@dataclass(frozen=True)
class ModelSource:
    """Where the model is; `sha` and `pipeline_tag` are the hub's, None for a local directory."""

    path: Path
    sha: str | None = None
    pipeline_tag: str | None = None


def find_model(config: ServeConfig) -> ModelSource:
    """Return the checkpoint's directory. Raises ConfigError when there is none to be had."""
    model_id = str(config.model_id)
    path = Path(model_id).expanduser()
    if path.is_dir():
        return ModelSource(path)
    if path.exists() or path.is_absolute() or model_id.startswith(("./", "../", "~")):
        raise ConfigError(f"--model-id {model_id} is no directory; give a checkpoint's directory or a hub id")
    return _download(model_id, config)


def _download(model_id: str, config: ServeConfig) -> ModelSource:
    revision = f" at revision {config.revision}" if config.revision else ""
    try:
        directory = snapshot_download(
            model_id,
            revision=config.revision,
            cache_dir=config.huggingface_hub_cache,
            token=_token(),
            allow_patterns=SERVED_FILES,
        )
    except HFValidationError as error:
        raise ConfigError(f"--model-id {model_id} is neither a directory nor a hub id") from error
    except GatedRepoError as error:
        raise ConfigError(f"{model_id} is gated: accept its terms on the hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{model_id} has no revision {config.revision} on the hub") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"{model_id} is neither a directory here nor a model on the hub (a private one needs HF_TOKEN)"
        ) from error
    # HTTPError is the HTTP library's, whichever: httpx in huggingface_hub 1, httpx2 in 2.
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise ConfigError(
            f"{model_id}{revision} is no directory here, and cannot be downloaded: {_first_line(error)}"
        ) from error
    return ModelSource(Path(directory), Path(directory).name, _pipeline_tag(model_id, config))


def _pipeline_tag(model_id: str, config: ServeConfig) -> str | None:
    """Return the hub's tag, None when it cannot be asked: the model itself is here already."""
    try:
        return HfApi(token=_token()).model_info(model_id, revision=config.revision).pipeline_tag
    except (HTTPError, OSError):
        return None


def _token() -> str | None:
    return os.environ.get("HF_TOKEN") or os.environ.get("HF_API_TOKEN")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
