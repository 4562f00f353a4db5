"""The small files of the model that the launcher is to serve: in its directory, or from the hub."""

from pathlib import Path
from typing import Any

from tgi_autoround.checkpoint.json_files import read_object
from tgi_autoround.errors import CheckpointError
from tgi_autoround.tgi.launcher.command_line import CommandLine

CONFIG_FILE = "config.json"
TOKENIZER_FILES = ["tokenizer*.json", "chat_template.jinja", "additional_chat_templates/*.jinja"]


def find_small_files(line: CommandLine, model_id: str, names: list[str]) -> Path:
    """Return a directory that holds those of the model's files that match `names`, downloaded where it is a hub id.

    Raises CheckpointError where the hub does not give them.
    """
    if Path(model_id).exists():
        return Path(model_id)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    revision = line.value("--revision")
    # HTTPError is the HTTP library's, whichever huggingface_hub uses: requests, httpx or httpx2.
    try:
        snapshot = snapshot_download(
            model_id,
            revision=revision,
            allow_patterns=names,
            cache_dir=line.value("--huggingface-hub-cache") or None,
            token=line.environment.get("HF_TOKEN") or line.environment.get("HF_API_TOKEN") or None,
        )
    except (HTTPError, HFValidationError, OSError) as error:
        at_revision = f" at revision {revision}" if revision else ""
        raise CheckpointError(
            f"{model_id}{at_revision} is no directory here, and the hub does not give its files: {_first_line(error)} "
            "(a private or gated model needs HF_TOKEN)"
        ) from error
    return Path(snapshot)


def read_config(directory: Path) -> dict[str, Any]:
    """Return config.json's object. Raises CheckpointError where there is none."""
    return read_object(directory / CONFIG_FILE)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
