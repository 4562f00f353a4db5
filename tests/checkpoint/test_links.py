"""Links in a model's directory: the hub cache's own load, those that lead out of it are refused."""

import os
from pathlib import Path

import pytest

from tests.checkpoint.drafts import CONFIG, WEIGHTS, read_everything, sharded, sound_files, write_files
from tgi_autoround.errors import CheckpointError


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_link_out_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = write_files(sound_files(), tmp_path / "elsewhere")
    model = write_files(sound_files(), tmp_path / "model")
    (model / name).unlink()
    (model / name).symlink_to(elsewhere / name)
    with pytest.raises(CheckpointError, match="outside of the model's directory"):
        read_everything(model)


def test_a_linked_shard_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    files = sound_files()
    sharded()(files)
    model = write_files(files, tmp_path / "model")
    (model / "a.safetensors").rename(tmp_path / "a.safetensors")
    (model / "a.safetensors").symlink_to("../a.safetensors")
    with pytest.raises(CheckpointError, match="outside of the model's directory"):
        read_everything(model)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_dangling_or_circular_link_is_refused(tmp_path: Path, name: str) -> None:
    model = write_files(sound_files(), tmp_path / "model")
    for target in ("nowhere", name):
        (model / name).unlink()
        (model / name).symlink_to(target)
        with pytest.raises(CheckpointError, match="missing or a broken link"):
            read_everything(model)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path, name: str) -> None:
    model = write_files(sound_files(), tmp_path / "model")
    (model / name).unlink()
    os.mkfifo(model / name)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_everything(model)


def in_hub_cache(root: Path) -> Path:
    """`models--a--b/snapshots/REVISION/NAME -> ../../blobs/HASH`, as huggingface_hub lays out its cache."""
    repository = root / "models--a--b"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for number, (name, content) in enumerate(sound_files().items()):
        write_files({str(number): content}, repository / "blobs")
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_the_links_of_the_hubs_cache_load(tmp_path: Path) -> None:
    read_everything(in_hub_cache(tmp_path))


def test_a_link_to_the_model_directory_loads(tmp_path: Path) -> None:
    snapshot = in_hub_cache(tmp_path)
    (tmp_path / "model").symlink_to(snapshot)
    read_everything(tmp_path / "model")


def test_a_link_out_of_the_hubs_cache_is_refused(tmp_path: Path) -> None:
    snapshot = in_hub_cache(tmp_path)
    (snapshot / CONFIG).unlink()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0").write_bytes(sound_files()[CONFIG])
    (snapshot / CONFIG).symlink_to("../../../blobs/0")
    with pytest.raises(CheckpointError, match="outside of the model's directory"):
        read_everything(snapshot)
