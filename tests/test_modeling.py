import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tests.conftest import Quantized
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.errors import CheckpointError
from tgi_autoround.linear import QLinear
from tgi_autoround.modeling import build_model

CPU = torch.device("cpu")
TOKENS = torch.arange(3, 60)[None]
SMALL_MOE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "num_local_experts": 2,
    "moe_num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_k": 1,
}


@pytest.mark.parametrize(("bits", "sym"), [(2, True), (3, True), (4, True), (8, True), (4, False)])
def test_logits_equal_those_of_the_dequantized_model(quantized: Quantized, bits: int, sym: bool) -> None:
    model_dir = quantized(bits=bits, sym=sym)
    model = build_model(open_checkpoint(model_dir), device=CPU, dtype=torch.float32, exact=True)
    with torch.no_grad():
        expected, got = dequantized_model(model_dir)(TOKENS).logits, model(TOKENS).logits
    assert (got - expected).norm() / expected.norm() < 1e-4


def test_no_quantized_layer_keeps_a_floating_point_weight(quantized: Quantized) -> None:
    model = build_model(open_checkpoint(quantized(bits=4)), device=CPU, dtype=torch.float32)
    layers = [module for module in model.modules() if isinstance(module, QLinear)]
    assert len(layers) == 14
    assert not any("weight" in name for layer in layers for name, _ in layer.named_buffers())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("family", ["ernie4_5_moe", "gpt_oss"])
def test_plain_tensors_have_the_type_that_transformers_gives_them(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Some routers and norms stay in float32 whatever the model runs in."""
    config = AutoConfig.for_model(family, **SMALL_MOE)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    expected = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    got = dict(build_model(open_checkpoint(tmp_path), device=CPU, dtype=dtype).named_parameters())
    for name, parameter in expected.named_parameters():
        if name in got:
            assert got[name].dtype == parameter.dtype, name
            assert torch.equal(got[name], parameter), name
    assert any(parameter.dtype != dtype for parameter in got.values()) == expects_float32(family, dtype)


def expects_float32(family: str, dtype: torch.dtype) -> bool:
    """Ernie's router is on transformers' strict list, gpt-oss' norms on the one for float16."""
    return dtype == torch.float16 or (family == "ernie4_5_moe" and dtype == torch.bfloat16)


def edited(source: Path, target: Path, edit: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> Path:
    copy = shutil.copytree(source, target)
    config, tensors = json.loads((copy / "config.json").read_text()), load_file(copy / "model.safetensors")
    edit(config, tensors)
    (copy / "config.json").write_text(json.dumps(config))
    save_file(tensors, copy / "model.safetensors")
    return copy


def drop_a_norm(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.norm.weight"]


def add_a_tensor(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.extra.weight"] = torch.zeros(2)


def shorten_a_norm(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1]


def unpack_a_layer(_config: Any, tensors: dict[str, torch.Tensor]) -> None:
    for part in ("qweight", "qzeros", "scales"):
        del tensors[f"model.layers.0.mlp.up_proj.{part}"]
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(384, 256)


def tie_another_head(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    config["tie_word_embeddings"] = True
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1


def widen_the_model(config: dict[str, Any], _tensors: Any) -> None:
    config["intermediate_size"] = 512


def halve_the_layers(config: dict[str, Any], _tensors: Any) -> None:
    config["num_hidden_layers"] = 1


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop_a_norm, "no tensors for model.norm.weight"),
        (add_a_tensor, "has no place for it"),
        (tie_another_head, "differs from the one that config.json ties it to"),
        (shorten_a_norm, "has shape"),
        (unpack_a_layer, "holds no packed weight"),
        (widen_the_model, "does not fit LlamaForCausalLM"),
        (halve_the_layers, "has no such module"),
    ],
)
def test_tensors_that_do_not_fit_the_architecture_are_refused(
    quantized: Quantized, tmp_path: Path, edit: Callable[..., None], words: str
) -> None:
    checkpoint = open_checkpoint(edited(quantized(bits=4), tmp_path / "copy", edit))
    with pytest.raises(CheckpointError, match=words):
        build_model(checkpoint, device=CPU, dtype=torch.float32)
