import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import Quantized
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import CheckpointError

LAYER = "model.layers.0.mlp.up_proj"
Edit = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


@pytest.fixture
def edited(quantized: Quantized, tmp_path: Path) -> Callable[[Edit], Path]:
    """`edited(edit)`: a copy of a W4 checkpoint after `edit(config, tensors)`."""

    def make(edit: Edit) -> Path:
        copy = shutil.copytree(quantized(bits=4), tmp_path / "copy")
        config = json.loads((copy / "config.json").read_text())
        tensors = load_file(copy / "model.safetensors")
        edit(config, tensors)
        (copy / "config.json").write_text(json.dumps(config))
        save_file(tensors, copy / "model.safetensors")
        return copy

    return make


def read_everything(model_dir: Path) -> None:
    checkpoint = open_checkpoint(model_dir)
    for name in checkpoint.quantized_layers:
        checkpoint.load_layer(name)


def remove_zeros(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    del tensors[f"{LAYER}.qzeros"]


def claim_8_bits(config: dict[str, Any], _tensors: Any) -> None:
    config["quantization_config"]["bits"] = 8


def claim_other_groups(config: dict[str, Any], _tensors: Any) -> None:
    config["quantization_config"]["group_size"] = 64


def claim_floating_point(config: dict[str, Any], _tensors: Any) -> None:
    config["quantization_config"]["extra_config"] = {LAYER: {"bits": 16}}


def drop_the_config(config: dict[str, Any], _tensors: Any) -> None:
    del config["quantization_config"]


def break_a_scale(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{LAYER}.scales"][0, 0] = torch.nan


def shift_a_zero_point(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{LAYER}.qzeros"] += 1


def widen_the_scales(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{LAYER}.scales"] = tensors[f"{LAYER}.scales"].float()


def reorder_groups(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{LAYER}.g_idx"] = torch.zeros(256, dtype=torch.int32)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (remove_zeros, "qzeros' is missing"),
        (claim_8_bits, "do not fit the file"),
        (claim_other_groups, "do not fit the file"),
        (claim_floating_point, "config says floating point"),
        (drop_the_config, "config says floating point"),
        (break_a_scale, "NaN or infinity"),
        (shift_a_zero_point, "config says sym"),
        (widen_the_scales, "scales is of type F32; expected F16"),
        (reorder_groups, "g_idx does not put 128 input features into each of 2 groups"),
    ],
)
def test_a_file_that_disagrees_with_its_config_is_refused_by_layer(
    edited: Callable[[Edit], Path], edit: Edit, words: str
) -> None:
    with pytest.raises(CheckpointError, match=words) as refusal:
        read_everything(edited(edit))
    assert "layer" in str(refusal.value)


def test_a_directory_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is this a model directory"):
        open_checkpoint(tmp_path)


def test_a_truncated_file_is_refused(quantized: Quantized, tmp_path: Path) -> None:
    copy = shutil.copytree(quantized(bits=4), tmp_path / "copy")
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        open_checkpoint(copy)


def test_an_index_cannot_name_shards_outside_the_directory(quantized: Quantized, tmp_path: Path) -> None:
    copy = shutil.copytree(quantized(bits=4), tmp_path / "copy")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(CheckpointError, match="must lie in the model's directory"):
        open_checkpoint(copy)


def test_shards_of_an_index_are_read_as_one_checkpoint(quantized: Quantized, tmp_path: Path) -> None:
    whole = open_checkpoint(quantized(bits=4))
    copy = shutil.copytree(quantized(bits=4), tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    shards = {"a.safetensors": list(tensors)[::2], "b.safetensors": list(tensors)[1::2]}
    for file, names in shards.items():
        save_file({name: tensors[name] for name in names}, copy / file)
    weight_map = {name: file for file, names in shards.items() for name in names}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    sharded = open_checkpoint(copy)
    assert sharded.quantized_layers == whole.quantized_layers
    assert torch.equal(sharded.load_layer(LAYER).codes, whole.load_layer(LAYER).codes)
