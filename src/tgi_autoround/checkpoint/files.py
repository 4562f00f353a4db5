"""Which files of a model directory hold its tensors, and that they lie where they seem to lie."""

import re
from pathlib import Path
from typing import Any

from tgi_autoround.checkpoint.header import StoredTensor, read_header
from tgi_autoround.checkpoint.json_files import read_object, show
from tgi_autoround.errors import CheckpointError, UnsupportedError

CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
PICKLE_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_SHARD_NAME = re.compile(r"\w[\w.+=-]*\.safetensors", re.ASCII)


def read_config(model_dir: Path) -> dict[str, Any]:
    """Return config.json's object. Raises CheckpointError."""
    return read_object(_own_file(model_dir, CONFIG_FILE))


def stored_tensors(model_dir: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a model directory by name, from its index and shards or from its single file.

    Raises CheckpointError where files are missing, broken, outside the directory or contradict each other,
    UnsupportedError where the directory holds no safetensors.
    """
    if _exists(model_dir / INDEX_FILE):
        return _tensors_of_shards(model_dir, _weight_map(model_dir))
    if _exists(model_dir / SINGLE_FILE):
        return read_header(_own_file(model_dir, SINGLE_FILE))
    raise _no_tensors(model_dir)


def _weight_map(model_dir: Path) -> dict[str, str]:
    index = _own_file(model_dir, INDEX_FILE)
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map is {show(weight_map)}; it must map tensors to shards")
    for file in weight_map.values():
        if not isinstance(file, str) or not _SHARD_NAME.fullmatch(file):
            raise CheckpointError(
                f"{index} names the shard {show(file)}; shards must lie in the model's directory, "
                "under plain names that end in .safetensors"
            )
    return weight_map


def _tensors_of_shards(model_dir: Path, weight_map: dict[str, str]) -> dict[str, StoredTensor]:
    shards = sorted(set(weight_map.values()))
    if SINGLE_FILE not in shards and _exists(model_dir / SINGLE_FILE):
        raise CheckpointError(
            f"{model_dir}: {INDEX_FILE} does not name {SINGLE_FILE}, which is there too; remove the one that is stale"
        )
    headers = {shard: read_header(_own_file(model_dir, shard)) for shard in shards}
    for shard, header in headers.items():
        for name in header:
            if weight_map.get(name) != shard:
                raise CheckpointError(
                    f"{model_dir / shard} holds tensor {show(name)}, which {INDEX_FILE} places in "
                    f"{show(weight_map.get(name))}; the files are not from the same job"
                )
    for name, shard in weight_map.items():
        if name not in headers[shard]:
            raise CheckpointError(
                f"{model_dir / INDEX_FILE} places tensor {show(name)} in {shard}, which does not hold it; "
                "the files are not from the same job"
            )
    return {name: headers[shard][name] for name, shard in weight_map.items()}


def _own_file(model_dir: Path, name: str) -> Path:
    """Return the path of a regular file that belongs to a model directory.

    It may be a link only inside the directory, or as the hub's cache keeps files: `snapshots/REVISION/NAME` is a link
    to `blobs/HASH` beside `snapshots`.
    """
    path = model_dir / name
    try:
        home, target = model_dir.resolve(strict=True), path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise CheckpointError(f"{path} is missing or a broken link; is this a model directory, in full?") from error
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if not target.is_relative_to(home) and target.parent != blobs:
        raise CheckpointError(
            f"{path} is a link to {target}, outside of the model's directory; put the file itself there"
        )
    if not target.is_file():
        raise CheckpointError(f"{path} is not a regular file")
    return path


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _no_tensors(model_dir: Path) -> UnsupportedError | CheckpointError:
    pickles = sorted(path.name for pattern in PICKLE_FILES for path in model_dir.glob(pattern))
    if pickles:
        return UnsupportedError(
            f"{model_dir} holds its tensors as pickle ({show(pickles[0])}), which can run any code when it is read; "
            "save the model again with transformers' save_pretrained, which writes safetensors"
        )
    return CheckpointError(
        f"{model_dir}: neither {SINGLE_FILE} nor {INDEX_FILE} is there; the download is incomplete, "
        "or the tensors are in a format other than safetensors"
    )
