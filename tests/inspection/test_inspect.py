"""`tgi-autoround inspect`, run as users run it, on files that auto-round wrote and on broken ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from tests.checkpoint.drafts import GROUP_SIZE, LAYER, both, part, quantization, sharded, sound_files, write_files
from tests.conftest import Quantized
from tests.gaudi import emulated_op  # noqa: F401 - registers it
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.cli import app
from tgi_autoround.errors import ConfigError
from tgi_autoround.kernels import Kernel
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.modeling import build_model

CPU = torch.device("cpu")


def inspect(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def report(*arguments: object, exit_code: int = 0) -> dict[str, Any]:
    result = inspect(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.output)


def broken(directory: Path, *edits: Any) -> Path:
    files = sound_files()
    both(*edits)(files)
    return write_files(files, directory)


def test_the_table_names_every_layer_pattern_its_scheme_and_kernel(quantized: Quantized) -> None:
    result = inspect(quantized(bits=4))
    assert result.exit_code == 0
    row = next(line for line in result.output.splitlines() if "mlp.up_proj" in line)
    assert row.split()[:10] == ["model.layers.*.mlp.up_proj", "2", "W4", "sym", "g128", "gptq", "256", "→", "384", "1"]
    assert "cpu-ark-int8" in row


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_memory_to_serve_is_what_the_built_model_holds(quantized: Quantized, bits: int) -> None:
    model_dir = quantized(bits=bits)
    model = build_model(open_checkpoint(model_dir), device=CPU, dtype=torch.float32)
    packed_bytes = sum(buffer.nbytes for name, buffer in model.named_buffers() if name.endswith(".packed"))
    plain_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert report(model_dir)["memory_bytes"] == packed_bytes + plain_bytes


def test_disk_size_and_bits_per_weight_are_those_of_the_files(quantized: Quantized) -> None:
    model_dir = quantized(bits=4)
    file = model_dir / "model.safetensors"
    layers = open_checkpoint(model_dir).quantized_layers
    tensors = load_file(file)
    packed = sum(tensors[f"{name}.{kind}"].nbytes for name in layers for kind in ("qweight", "qzeros", "scales"))
    weights = sum(spec.in_features * spec.out_features for spec in layers.values())
    found = report(model_dir)
    assert found["disk_bytes"] == file.stat().st_size
    assert found["bits_per_weight"] == pytest.approx(8 * packed / weights, abs=1e-3)


def test_on_cuda_it_says_why_the_cpu_kernels_are_passed_over(quantized: Quantized) -> None:
    found = report(quantized(bits=4), "--device", "cuda")
    assert found["dtype"] == "bfloat16"
    assert set(found["layers"][0]["passed_over"]) >= {"cpu-ark-int8", "cpu-ark-fp32"}
    assert "not cpu-ark-int8: it runs on the CPU, not on cuda (every layer)" in inspect(
        quantized(bits=4), "--device", "cuda"
    ).output.replace("\n", " ")


@pytest.mark.parametrize(("bits", "kernel"), [(2, HpuUint4Kernel("cpu")), (8, HpuInt8Kernel("cpu"))])
def test_a_gaudi_is_planned_for_without_one(quantized: Quantized, bits: int, kernel: Kernel) -> None:
    found = report(quantized(bits=bits), "--device", "hpu")
    assert found["dtype"] == "bfloat16"
    assert {layer["kernel"] for layer in found["layers"]} == {kernel.name}
    checkpoint = open_checkpoint(quantized(bits=bits))
    held = [kernel.prepare(checkpoint.load_layer(name), CPU, torch.bfloat16) for name in checkpoint.quantized_layers]
    assert sum(layer["memory_bytes"] for layer in found["layers"]) == sum(
        tensor.nbytes for buffers in held for tensor in buffers.values()
    )


def test_shards_of_rows_and_columns_and_cut_groups_are_shown(quantized: Quantized) -> None:
    layers = {layer["pattern"].rpartition(".")[2]: layer for layer in report(quantized(bits=4), "--tp", 4)["layers"]}
    assert layers["up_proj"]["shard"] == {
        "direction": "column", "in_features": 256, "out_features": 96, "group_size": 128, "cuts_groups": False
    }  # fmt: skip
    assert layers["down_proj"]["shard"] == {
        "direction": "row", "in_features": 96, "out_features": 256, "group_size": 32, "cuts_groups": True
    }  # fmt: skip
    assert "row 96 → 256, groups cut to 32" in inspect(quantized(bits=4), "--tp", 4).output


def test_a_layer_that_cannot_be_split_among_the_devices_is_a_problem(quantized: Quantized) -> None:
    problems = report(quantized(bits=4), "--tp", 7, exit_code=1)["problems"]
    assert any("down_proj" in problem and "384, are not divisible by 7" in problem for problem in problems)


def test_layers_of_two_shards_count_both_files(tmp_path: Path) -> None:
    model_dir = broken(tmp_path / "model", sharded())
    assert report(model_dir)["layers"][0]["files"] == ["a.safetensors", "b.safetensors"]


def test_every_broken_layer_is_listed_and_the_sound_ones_are_still_shown(quantized: Quantized, tmp_path: Path) -> None:
    source = quantized(bits=4)
    tensors = load_file(source / "model.safetensors")
    bad = [f"model.layers.{block}.mlp.up_proj" for block in (0, 1)]
    for name in bad:
        tensors[f"{name}.scales"] = tensors[f"{name}.scales"][:1].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    found = report(tmp_path, exit_code=1)
    assert [problem.split(":")[0] for problem in found["problems"]] == [f"layer {name}" for name in bad]
    assert sum(layer["layers"] for layer in found["layers"]) == 12
    assert all(f"problem: layer {name}" in inspect(tmp_path).output for name in bad)


def test_a_layer_left_in_floating_point_beside_packed_ones_is_a_problem(quantized: Quantized, tmp_path: Path) -> None:
    source, name = quantized(bits=4), "model.layers.1.mlp.up_proj"
    tensors = {key: tensor for key, tensor in load_file(source / "model.safetensors").items() if name not in key}
    tensors[f"{name}.weight"] = torch.zeros(384, 256, dtype=torch.float16)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    (problem,) = report(tmp_path, exit_code=1)["problems"]
    assert problem.startswith(f"layer {name}: the config says 4 bits, but the file holds no packed weight")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (quantization(packing_format="auto_round:unheard_of"), "unheard_of"),
        (sharded(lambda weight_map: weight_map.update({"x": "c.safetensors"})), "c.safetensors is missing"),
        (quantization(bits=8), "bits, group_size or packing in config.json do not fit the file"),
    ],
    ids=["unknown packing", "missing shard", "other bits"],
)
def test_what_cannot_be_read_is_a_problem_in_a_sentence(tmp_path: Path, edit: Any, sentence: str) -> None:
    (problem,) = report(broken(tmp_path / "model", edit), exit_code=1)["problems"]
    assert sentence in problem


def test_nan_scales_are_found_by_decoding_every_layer(tmp_path: Path) -> None:
    scales = torch.full((64 // GROUP_SIZE, 32), float("nan"), dtype=torch.float16)
    model_dir = broken(tmp_path / "model", part("scales", scales))
    assert report(model_dir)["problems"] == []
    (problem,) = report(model_dir, "--deep", exit_code=1)["problems"]
    assert problem.startswith(f"layer {LAYER}") and "NaN" in problem  # noqa: PT018


def test_only_headers_are_read_unless_deep(tmp_path: Path) -> None:
    model_dir = broken(tmp_path / "model")
    weights = model_dir / "model.safetensors"
    size = weights.stat().st_size
    header = weights.read_bytes()[: 8 + int.from_bytes(weights.read_bytes()[:8], "little")]
    with weights.open("wb") as file:
        file.write(header)
        file.truncate(size)
    assert report(model_dir)["problems"] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--device", "xpu"], "--device is 'xpu'; kernels are known for cpu, cuda, hpu"),
        ([], "is not quantized; make it so with `tgi-autoround quantize"),
    ],
)
def test_what_is_no_question_about_a_quantized_model_is_refused(
    tiny_llama: Path, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        inspect(tiny_llama, *arguments)


def test_a_hub_id_is_answered_with_how_to_fetch_it() -> None:
    with pytest.raises(ConfigError, match="hf download someone/model --local-dir DIR"):
        inspect("someone/model")
