"""`--model-id` and `--lora-adapters` -> directories, downloaded first where they are hub ids."""

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
from tgi_autoround.server.settings import AdapterSource, ServeConfig, lora_adapters_of

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
    path = _download(model_id, config.revision, config)
    return ModelSource(path, path.name, _pipeline_tag(model_id, config))


def find_adapters(config: ServeConfig) -> dict[str, Path]:
    """Return the directories of `--lora-adapters` by id. Raises ConfigError where there is none to be had."""
    return {source.id: _adapter_directory(source, config) for source in lora_adapters_of(config.lora_adapters)}


def _adapter_directory(source: AdapterSource, config: ServeConfig) -> Path:
    path = Path(source.path or source.id).expanduser()
    if path.is_dir():
        return path
    if source.path is not None:
        raise ConfigError(f"--lora-adapters {source.id}={source.path}: {source.path} is no directory")
    return _download(source.id, source.revision, config)


def _download(repository: str, revision: str | None, config: ServeConfig) -> Path:
    at_revision = f" at revision {revision}" if revision else ""
    try:
        directory = snapshot_download(
            repository,
            revision=revision,
            cache_dir=config.huggingface_hub_cache,
            token=_token(),
            allow_patterns=SERVED_FILES,
        )
    except HFValidationError as error:
        raise ConfigError(f"{repository} is neither a directory nor a hub id") from error
    except GatedRepoError as error:
        raise ConfigError(f"{repository} is gated: accept its terms on the hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{repository} has no revision {revision} on the hub") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"{repository} is neither a directory here nor a model on the hub (a private one needs HF_TOKEN)"
        ) from error
    # HTTPError is the HTTP library's, whichever: httpx in huggingface_hub 1, httpx2 in 2.
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise ConfigError(
            f"{repository}{at_revision} is no directory here, and cannot be downloaded: {_first_line(error)}"
        ) from error
    return Path(directory)


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
