"""What a finished job leaves: files that every reader takes, equal to the float model within the stated bounds."""

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoRoundConfig, AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

from tests.models import make_tokenizer
from tests.quantize.conftest import QUICK_TUNING, RunQuantize, events_of
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.quantize.config import QuantizeConfig
from tgi_autoround.quantize.plan import make_plan
from tgi_autoround.quantize.resources import estimate
from tgi_autoround.quantize.source import open_source

PROMPT = "The quick brown fox"


@pytest.fixture(scope="module")
def tuned(model: Path, run_quantize: RunQuantize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "w4"
    run_quantize(model, out, *QUICK_TUNING)
    return out


@pytest.fixture(scope="module")
def mixed(model: Path, run_quantize: RunQuantize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("mixed")
    overrides = {"lm_head": {"bits": 8}, r"1\.mlp\.(gate|up)": {"bits": 2, "group_size": 32}, "v_proj": {"bits": 16}}
    (directory / "layers.json").write_text(json.dumps(overrides), encoding="utf-8")
    arguments = ("--recipe", "rtn", "--layer-config", directory / "layers.json", "--max-shard-size", "400KB")
    run_quantize(model, directory / "out", *arguments)
    return directory / "out"


def dequantized_twin(model: Path, result: Path) -> AutoModelForCausalLM:
    """The float model with every quantized weight replaced by what our decoder reads: the oracle for loaders."""
    twin = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    checkpoint = open_checkpoint(result)
    for name in checkpoint.quantized_layers:
        twin.get_submodule(name).weight.data = checkpoint.load_layer(name).dequantize()
    return twin


def logits_of(model: AutoModelForCausalLM, tokenizer_dir: Path) -> torch.Tensor:
    tokens = AutoTokenizer.from_pretrained(tokenizer_dir)(PROMPT, return_tensors="pt")
    with torch.no_grad():
        return model(**tokens).logits.float()


def test_transformers_loads_the_files_and_computes_what_our_decoder_reads(model: Path, tuned: Path) -> None:
    # The torch backend multiplies in float16 by the decoded weight; the default one rounds activations to 8 bits.
    loaded = AutoModelForCausalLM.from_pretrained(tuned, quantization_config=AutoRoundConfig(backend="torch"))
    ours = logits_of(dequantized_twin(model, tuned), model)
    original = logits_of(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), model)
    distance = (logits_of(loaded, tuned) - ours).abs().max()
    assert distance < 0.01 * ours.abs().max()
    assert distance < 0.1 * (original - ours).abs().max()


def test_asymmetric_four_bits_are_written_in_the_awq_packing(
    model: Path, run_quantize: RunQuantize, tmp_path: Path
) -> None:
    run_quantize(model, tmp_path / "out", "--asym", "--group-size", 32, *QUICK_TUNING)
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert (config["packing_format"], config["sym"], config["group_size"]) == ("auto_round:auto_awq", False, 32)
    layer = open_checkpoint(tmp_path / "out").load_layer("model.layers.0.mlp.down_proj")
    assert len(layer.zero_points.unique()) > 1


def test_the_layer_config_decides_each_layer(mixed: Path) -> None:
    schemes = {name: spec.scheme for name, spec in open_checkpoint(mixed).quantized_layers.items()}
    assert schemes["lm_head"].bits == 8
    assert (schemes["model.layers.1.mlp.gate_proj"].bits, schemes["model.layers.1.mlp.gate_proj"].group_size) == (2, 32)
    assert (schemes["model.layers.0.mlp.gate_proj"].bits, schemes["model.layers.0.mlp.gate_proj"].group_size) == (
        4,
        128,
    )
    assert not any("v_proj" in name for name in schemes)


def test_everything_unquantized_is_the_sources_bit_for_bit(model: Path, mixed: Path) -> None:
    source, result = open_checkpoint(model), open_checkpoint(mixed)
    plain = [name for name in source.file_of if name.removesuffix(".weight") not in result.quantized_layers]
    assert any("v_proj" in name for name in plain)
    for name in plain:
        assert result.read_tensor(name).dtype == torch.float16
        assert torch.equal(result.read_tensor(name), source.read_tensor(name))
    for file in ("tokenizer.json", "generation_config.json"):
        assert (mixed / file).read_bytes() == (model / file).read_bytes()


def test_weight_files_keep_the_shard_size_and_are_indexed(mixed: Path) -> None:
    shards = sorted(mixed.glob("model-*.safetensors"))
    index = json.loads((mixed / "model.safetensors.index.json").read_text())
    assert len(shards) > 1
    assert {path.name for path in shards} == set(index["weight_map"].values())
    assert all(path.stat().st_size < 410e3 for path in shards)


def test_files_are_world_readable_and_name_their_framework(tuned: Path) -> None:
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in tuned.iterdir())
    assert stat.S_IMODE(tuned.stat().st_mode) == 0o755
    with safe_open(tuned / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_four_bit_layers_take_about_a_quarter_of_their_float16_size(model: Path, tuned: Path) -> None:
    result = open_checkpoint(tuned)
    packed_bytes = sum(result.read_tensor(name).nbytes for name in result.file_of if "proj." in name)
    source = open_checkpoint(model)
    float_bytes = sum(source.read_tensor(name).nbytes for name in source.file_of if "proj." in name)
    assert packed_bytes / float_bytes == pytest.approx(4.156 / 16, rel=0.01)  # 4 bits, and 20 for each group of 128


def test_nothing_but_the_result_and_its_log_is_left_beside_it(tuned: Path) -> None:
    assert {path.name for path in tuned.parent.iterdir()} == {"w4", "w4.log.jsonl"}
    assert not list(tuned.glob("*.jsonl"))


def test_the_log_has_every_block_with_its_losses(tuned: Path) -> None:
    log_file = tuned.parent / "w4.log.jsonl"
    blocks = events_of(log_file, "block")
    assert [(block["block"], block["index"], block["total"]) for block in blocks] == [
        ("model.layers.0", 1, 2),
        ("model.layers.1", 2, 2),
    ]
    assert all(0 < block["loss_after"] <= block["loss_before"] for block in blocks)
    assert all(block["peak_memory_bytes"] > 10**8 for block in blocks)
    assert len(events_of(log_file, "verified")) == 14
    assert len(events_of(log_file, "done")) == 1


def test_the_model_card_tells_how_the_model_was_made(tuned: Path) -> None:
    card = (tuned / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "4 bits, symmetric, groups of 128" in card
    assert "8 samples of 32 tokens: the model's own calibration.jsonl" in card
    assert str(tuned.parent) not in card


def test_overwrite_replaces_an_earlier_result(
    model: Path, mixed: Path, run_quantize: RunQuantize, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale").write_text("from an earlier job")
    said = run_quantize(model, out, "--recipe", "rtn", "--bits", 3, "--overwrite")
    assert not (out / "stale").exists()
    assert "block 2/2 model.layers.1: rounded" in said
    assert {spec.scheme.bits for spec in open_checkpoint(out).quantized_layers.values()} == {3}


def test_the_size_estimated_beforehand_is_the_size_written(model: Path, tuned: Path, mixed: Path) -> None:
    source = open_source(model)
    for result in (tuned, mixed):
        specs = open_checkpoint(result).quantized_layers.values()
        overrides = {spec.name: {"bits": spec.scheme.bits, "group_size": spec.scheme.group_size} for spec in specs}
        unquantized = {name: {"bits": 16} for name in source.block_linears if name not in overrides}
        config = QuantizeConfig(model=str(model), output_dir=result, layer_config=overrides | unquantized)
        expected = estimate(config, source, make_plan(config, source), device="cpu", seqlen_tokens=32)
        weights_bytes = sum(path.stat().st_size for path in result.glob("*.safetensors"))
        assert expected.result_bytes == pytest.approx(weights_bytes, rel=0.02)


def test_the_experts_of_a_mixture_are_quantized_one_by_one(run_quantize: RunQuantize, tmp_path: Path) -> None:
    config = Qwen3MoeConfig(
        vocab_size=1024,
        hidden_size=64,
        intermediate_size=128,
        moe_intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        num_experts=4,
        num_experts_per_tok=2,
    )
    make_tokenizer(tmp_path / "moe")
    Qwen3MoeForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "moe")
    run_quantize(tmp_path / "moe", tmp_path / "out", "--recipe", "rtn", "--group-size", 32)
    layers = open_checkpoint(tmp_path / "out").quantized_layers
    assert sum(".experts." in name for name in layers) == 2 * 4 * 3
    assert not any(name.endswith("mlp.gate") for name in layers)
