"""The Hugging Face hub: what is there, what may be read or written with the user's token, and fetching a model."""

import shutil
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tgi_autoround.errors import QuantizeError

DESCRIPTION_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "calibration.jsonl", "LICENSE*", "NOTICE*")
WEIGHT_FILES = "*.safetensors"
PROBE_TIMEOUT_S = 10.0
# HTTPError is the HTTP library's, whichever: httpx in huggingface_hub 1, httpx2 in 2.
UNREACHABLE = (HTTPError, OfflineModeIsEnabled)
TOKEN_REMEDY = "run `hf auth login`, or set HF_TOKEN"


def fetch_description(model_id: str, revision: str | None) -> Path:
    """Return the directory of a hub model's small files, so that what cannot be quantized is known before the weights.

    Raises QuantizeError where the model does not exist, is not granted to the user's token, or the hub is out of reach.
    """
    try:
        HfApi().model_info(model_id, revision=revision, timeout=PROBE_TIMEOUT_S)
        return _snapshot(model_id, revision, DESCRIPTION_FILES)
    except GatedRepoError as error:
        raise QuantizeError(
            f"{model_id} is gated: ask for access at {constants.ENDPOINT}/{model_id}, then {TOKEN_REMEDY}"
            + (" (a token is set, but has no access)" if get_token() else "")
        ) from error
    except (RevisionNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
        raise QuantizeError(
            f"{model_id}{f' at revision {revision}' if revision else ''}: no such model, neither as a directory here "
            f"nor on the hub (if it is private, {TOKEN_REMEDY})"
        ) from error
    except HfHubHTTPError as error:
        raise QuantizeError(f"{model_id} cannot be fetched: {first_line(error)}") from error
    except UNREACHABLE as error:
        return _cached(model_id, revision, error)


def fetch_model(model_id: str, revision: str | None) -> Path:
    """Return the directory of all of a hub model's files, fetched or from the cache. Raises QuantizeError."""
    try:
        _check_cache_space(model_id, revision)
        return _snapshot(model_id, revision, (*DESCRIPTION_FILES, WEIGHT_FILES))
    except OfflineModeIsEnabled as error:
        return _cached(model_id, revision, error)
    except (HTTPError, OSError) as error:
        raise QuantizeError(
            f"{model_id} could not be fetched: {first_line(error)}; run the command again, it goes on where it stopped"
        ) from error


def check_dataset(name: str) -> None:
    """Raise QuantizeError, without the library's minutes of retries, where the hub does not have a data set."""
    try:
        HfApi().dataset_info(name, timeout=PROBE_TIMEOUT_S)
    except OfflineModeIsEnabled:
        return  # the data set may be in the cache
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise QuantizeError(f"no calibration data: the hub has no data set {name!r}; check --dataset") from error
    except (HTTPError, OSError) as error:
        raise QuantizeError(
            f"no calibration data: the hub cannot be reached for {name} ({first_line(error)}); give a local file with "
            "--dataset FILE, or set HF_HUB_OFFLINE=1 if the data set is in the cache"
        ) from error


def check_upload(repo_id: str) -> None:
    """Raise QuantizeError where a finished model could not be pushed to `repo_id`."""
    if get_token() is None:
        raise QuantizeError(f"--upload-to-model-id {repo_id} needs a token that may write: {TOKEN_REMEDY}")
    try:
        HfApi().whoami()
    except (HTTPError, OSError) as error:
        raise QuantizeError(
            f"--upload-to-model-id {repo_id}: the hub does not accept the token: {first_line(error)}; {TOKEN_REMEDY}"
        ) from error


def upload(directory: Path, repo_id: str) -> str:
    """Push a finished model directory to the hub and return its address. Raises QuantizeError."""
    api = HfApi()
    try:
        address = api.create_repo(repo_id, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=directory, commit_message="Model quantized with AutoRound")
    except (HTTPError, OSError, ValueError) as error:
        raise QuantizeError(
            f"the model is complete in {directory}, but could not be pushed to {repo_id}: {first_line(error)}; "
            f"try again with `hf upload {repo_id} {directory}`"
        ) from error
    return str(address)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _snapshot(model_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    return Path(snapshot_download(model_id, revision=revision, allow_patterns=list(patterns)))


def _cached(model_id: str, revision: str | None, reason: Exception) -> Path:
    try:
        return Path(snapshot_download(model_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        raise QuantizeError(
            f"{model_id}: no such directory here, and the hub cannot be reached to fetch a model of that name "
            f"({first_line(reason)}); check the path, or the network"
        ) from reason


def _check_cache_space(model_id: str, revision: str | None) -> None:
    info = HfApi().model_info(model_id, revision=revision, files_metadata=True, timeout=PROBE_TIMEOUT_S)
    needed_bytes = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors"))
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(cache).free
    if free_bytes < needed_bytes:
        raise QuantizeError(
            f"not enough disk: {model_id} has {needed_bytes / 1e9:.1f} GB of weights, the cache {cache} has "
            f"{free_bytes / 1e9:.1f} GB free; free some, or set HF_HOME to a larger disk"
        )
