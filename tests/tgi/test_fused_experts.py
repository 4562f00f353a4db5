"""Experts in TGI's fused layer, against doubles: checked and right where they fit, left to its dense layer if not."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from text_generation_server.layers.moe import DenseMoELayer, SparseMoELayer
from text_generation_server.utils.weights import ProcessGroup, Weights

from tests.coverage import build
from tests.coverage.cases import CASES
from tests.decoder import decode_checkpoint
from tests.tgi import marlin_double, mixtral_files
from tests.tgi.mixtral_files import BLOCK, EXPERTS
from tgi_autoround.errors import ConfigError, UnsupportedError
from tgi_autoround.names import PROJECTION_OF
from tgi_autoround.tgi import hooks, marlin
from tgi_autoround.tgi.loader import AutoRoundWeightsLoader
from tgi_autoround.tgi.marlin_experts import MarlinExpertsLoader, check_once
from tgi_autoround.tgi.weight import AutoRoundWeight

PRODUCTS_OF_A_CHECK = 2 * len(marlin.ROWS_CHECKED)
CHOSEN = 2
BOUND = 0.002


@pytest.fixture
def moe(monkeypatch: pytest.MonkeyPatch) -> Iterator[marlin_double.Moe]:
    """What TGI on a GPU would load, in its place; nothing is remembered from other tests or by them."""
    kernels = {
        ("moe", "kernels-community/moe"): marlin_double.Moe(),
        ("quantization", "kernels-community/quantization"): marlin_double.Quantization(),
    }
    marlin_double.put_module(
        monkeypatch,
        "text_generation_server.utils.kernels",
        load_kernel=lambda *, module, repo_id: kernels[module, repo_id],
    )
    marlin_double.put_module(
        monkeypatch, "text_generation_server.layers.marlin.util", permute_scales=marlin_double.permute_scales
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    marlin_double.forget(monkeypatch)
    check_once.cache_clear()
    yield kernels["moe", "kernels-community/moe"]
    marlin_double.forget(monkeypatch)
    check_once.cache_clear()


@pytest.fixture(autouse=True)
def _one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("TGI_AUTOROUND_MARLIN", raising=False)


def case(name: str) -> Path:
    return build.checkpoint(next(each for each in CASES if each.name == name))


def weights_of(folder: Path, rank: int = 0, ranks: int = 1, dtype: torch.dtype = torch.float16) -> Weights:
    loader = hooks.get_loader(str(folder), None)
    files = sorted(folder.glob("*.safetensors"))
    return Weights(files, torch.device("cpu"), dtype, ProcessGroup(rank, ranks), loader)


def experts_of(weights: Weights) -> Any:
    """The layer that TGI's code for Mixtral makes."""
    layer_class = SparseMoELayer if SparseMoELayer.is_supported(weights) else DenseMoELayer
    return layer_class(
        n_experts=EXPERTS,
        prefix=f"{BLOCK}.experts",
        renormalize=True,
        topk=CHOSEN,
        weights=weights,
        gate_proj_name="w1",
        up_proj_name="w3",
        down_proj_name="w2",
    )


def rows_and_logits(hidden: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(5, hidden, generator=random).half(), torch.randn(5, EXPERTS, generator=random).half()


def newer_name(layer: str) -> str:
    expert, _, projection = layer.rpartition(".")
    return f"{expert}.{PROJECTION_OF.get(projection, projection)}"


def oracle(folder: Path, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The mixture in float64, from the tests' own decoder."""
    decoded = {newer_name(layer): part["weight"] for layer, part in decode_checkpoint(folder).items()}
    shares = logits.double().softmax(-1)
    kept = shares >= shares.topk(CHOSEN).values[:, -1:]
    shares = shares * kept / (shares * kept).sum(-1, keepdim=True)
    out = torch.zeros(x.shape, dtype=torch.float64)
    for expert in range(EXPERTS):
        gate, up, down = (
            torch.from_numpy(decoded[f"{BLOCK}.experts.{expert}.{name}_proj"]).double()
            for name in ("gate", "up", "down")
        )
        out += shares[:, expert, None] * (
            (torch.nn.functional.silu(x.double() @ gate.t()) * (x.double() @ up.t())) @ down.t()
        )
    return out


def assert_right(folder: Path, layers: list[Any]) -> None:
    x, logits = rows_and_logits(mixtral_files.HIDDEN)
    total = sum(layer(x, gating_output=logits).double() for layer in layers)
    expected = oracle(folder, x, logits)
    assert (total - expected).norm() < BOUND * expected.norm()


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["mixtral", "model-free, mixtral"])
def test_auto_rounds_mixtral_goes_into_the_fused_layer_whatever_its_experts_are_named(
    name: str, ranks: int, moe: marlin_double.Moe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    layers = [experts_of(weights_of(case(name), rank, ranks)) for rank in range(ranks)]
    assert all(isinstance(layer, SparseMoELayer) for layer in layers)
    assert_right(case(name), layers)
    assert moe.products == PRODUCTS_OF_A_CHECK + ranks


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [-1, 32, 64, 128])
def test_every_width_and_group_size_that_the_fused_layer_takes(
    bits: int, group_size: int, moe: marlin_double.Moe, tmp_path: Path
) -> None:
    folder = mixtral_files.write(tmp_path, bits=bits, group_size=group_size)
    layer = experts_of(weights_of(folder))
    assert isinstance(layer, SparseMoELayer)
    assert_right(folder, [layer])


def test_two_shards_hold_half_of_every_expert_each_also_where_they_cut_groups(
    moe: marlin_double.Moe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mixtral_files.write(tmp_path, group_size=128, intermediate=384)  # 384 = 3 groups; each shard has 1.5
    whole = experts_of(weights_of(folder)).moe
    monkeypatch.setenv("WORLD_SIZE", "2")
    halves = [experts_of(weights_of(folder, rank, 2)) for rank in range(2)]
    assert_right(folder, halves)
    for half in halves:
        for name in ("gate_up", "down"):
            assert 2 * getattr(half.moe, name)["qweight"].numel() == getattr(whole, name)["qweight"].numel()


def test_what_is_no_expert_is_served_as_in_any_model(moe: marlin_double.Moe) -> None:
    weights = weights_of(case("mixtral"))
    attention = [f"model.layers.0.self_attn.{name}_proj" for name in "qkv"]
    assert isinstance(weights.loader, MarlinExpertsLoader)
    assert isinstance(weights.get_multi_weights_col(attention, 0), AutoRoundWeight)
    assert isinstance(weights.get_weights_row("model.layers.0.self_attn.o_proj"), AutoRoundWeight)
    gate = weights.get_weights(f"{BLOCK}.gate")
    assert gate.shape == (EXPERTS, mixtral_files.HIDDEN)


def swapped_experts(moe: marlin_double.Moe, **arguments: Any) -> torch.Tensor:
    return moe.fused_marlin_moe(**{**arguments, "topk_ids": 1 - arguments["topk_ids"]})


def up_before_gate(moe: marlin_double.Moe, **arguments: Any) -> torch.Tensor:
    w1, scale = arguments["w1"], arguments["w1_scale"]
    halves = {
        "w1": w1.reshape(w1.shape[0], 2, -1).flip(1).reshape(w1.shape),
        "w1_scale": torch.cat(scale.chunk(2, -1)[::-1], -1),
    }
    return moe.fused_marlin_moe(**{**arguments, **halves})


def equal_shares(moe: marlin_double.Moe, **arguments: Any) -> torch.Tensor:
    return moe.fused_marlin_moe(**{**arguments, "topk_weights": torch.ones_like(arguments["topk_weights"]) / 2})


def wrong_beyond_64_rows(moe: marlin_double.Moe, **arguments: Any) -> torch.Tensor:
    y = moe.fused_marlin_moe(**arguments)
    y[64:, -8:] = float("nan")
    return y


def refusal(moe: marlin_double.Moe, **arguments: Any) -> torch.Tensor:
    raise RuntimeError("invalid thread configuration")


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (swapped_experts, "is off by .* on 1 rows"),
        (up_before_gate, "is off by .* on 1 rows"),
        (equal_shares, "is off by .* on 1 rows"),
        (wrong_beyond_64_rows, "is off by nan on 128 rows"),
        (refusal, "failed on 1 rows: invalid thread configuration"),
    ],
)
def test_a_fused_layer_that_is_wrong_stops_the_load_and_names_the_switch(
    wrong: Any, what: str, moe: marlin_double.Moe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = marlin_double.Moe()
    monkeypatch.setattr(moe, "fused_marlin_moe", lambda **arguments: wrong(right, **arguments))
    weights = weights_of(mixtral_files.write(tmp_path))
    with pytest.raises(UnsupportedError, match=rf"experts: .*W4 sym g32.*fused.*{what}.*TGI_AUTOROUND_MARLIN=0"):
        experts_of(weights)


def test_experts_of_the_same_kind_are_checked_once(moe: marlin_double.Moe, tmp_path: Path) -> None:
    folder = mixtral_files.write(tmp_path)
    for _ in range(2):
        experts_of(weights_of(folder))
    assert moe.products == PRODUCTS_OF_A_CHECK
    experts_of(weights_of(mixtral_files.write(tmp_path, group_size=64)))
    assert moe.products == 2 * PRODUCTS_OF_A_CHECK


def test_bfloat16_is_refused_with_both_remedies(moe: marlin_double.Moe, tmp_path: Path) -> None:
    weights = weights_of(mixtral_files.write(tmp_path), dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match=r"--dtype bfloat16: .*--dtype float16, or set TGI_AUTOROUND_MARLIN=0"):
        experts_of(weights)


def assert_left_to_the_dense_layer(folder: Path, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        weights = weights_of(folder)
    assert type(weights.loader) is AutoRoundWeightsLoader
    assert [record.message for record in caplog.records if reason in record.message] == caplog.messages
    assert len(caplog.messages) == 1
    weights.dtype = torch.float32
    layer = experts_of(weights)
    assert isinstance(layer, DenseMoELayer)
    x, logits = rows_and_logits(layer.gate[0].in_features)
    expected = oracle(folder, x, logits)
    assert (layer(x.float(), gating_output=logits) - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize(
    ("experts", "reason"),
    [
        ({"sym": False}, "w1, W4 asym g32 gptq [128 -> 512]: it takes 4 and 8 bits, symmetric"),
        ({"bits": 2}, "it takes 4 and 8 bits, symmetric"),
        ({"bits_of": {"3.w2": 8}}, "it takes experts of one width and one group size"),
        ({"group_size": 16}, "it takes whole groups of 32, 64 or 128 input features"),
        ({"hidden": 160}, "no multiples of 128 and 64"),
        ({"model_type": "deepseek_v2"}, "it computes in float16, and TGI runs deepseek_v2 in bfloat16"),
    ],
    ids=str,
)
def test_other_experts_are_left_to_tgis_dense_layer_and_the_log_says_why(
    experts: dict[str, Any], reason: str, moe: marlin_double.Moe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_left_to_the_dense_layer(mixtral_files.write(tmp_path, **experts), reason, caplog)


def test_act_order_is_read_from_the_tensors_whatever_the_config_says(
    moe: marlin_double.Moe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = mixtral_files.write(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    in_order = torch.arange(mixtral_files.INTERMEDIATE, dtype=torch.int32) // 32
    layers = [f"{BLOCK}.experts.{expert}.w2" for expert in range(EXPERTS)]
    save_file({**tensors, **{f"{layer}.g_idx": in_order.clone() for layer in layers}}, folder / "model.safetensors")
    assert isinstance(weights_of(folder).loader, MarlinExpertsLoader)
    scattered = in_order[torch.randperm(len(in_order), generator=torch.Generator().manual_seed(0))]
    save_file({**tensors, f"{layers[3]}.g_idx": scattered}, folder / "model.safetensors")
    assert_left_to_the_dense_layer(folder, "experts.3.w2 has act-order", caplog)


def test_an_expert_in_floating_point_leaves_all_of_them_to_the_dense_layer(
    moe: marlin_double.Moe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = mixtral_files.write(tmp_path)
    layer = f"{BLOCK}.experts.1.w3"
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(layer)}
    plain = torch.zeros(mixtral_files.INTERMEDIATE, mixtral_files.HIDDEN, dtype=torch.float16)
    save_file({**kept, f"{layer}.weight": plain}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["extra_config"] = {layer: {"bits": 16}}
    (folder / "config.json").write_text(json.dumps(config))
    with caplog.at_level(logging.INFO):
        assert type(weights_of(folder).loader) is AutoRoundWeightsLoader
    assert f"{layer} is not quantized" in caplog.text


def test_shards_that_the_kernel_does_not_take_are_left_to_the_dense_layer(
    moe: marlin_double.Moe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mixtral_files.write(tmp_path)
    for ranks, reason in ((8, "w2, W4 sym g32 gptq [32 -> 128]: in_features and"), (3, "not split over 3 shards")):
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        with caplog.at_level(logging.INFO):
            assert type(weights_of(folder, 0, ranks).loader) is AutoRoundWeightsLoader
        assert reason in caplog.text


def test_the_switch_older_gpus_and_a_tgi_without_the_layer_leave_experts_to_the_dense_layer(
    moe: marlin_double.Moe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mixtral_files.write(tmp_path)
    with monkeypatch.context() as changed:
        changed.setenv("TGI_AUTOROUND_MARLIN", "0")
        assert_left_to_the_dense_layer(folder, "TGI_AUTOROUND_MARLIN=0 turns it off", caplog)
    with monkeypatch.context() as changed:
        changed.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
        assert type(weights_of(folder).loader) is AutoRoundWeightsLoader
    assert "compute capability 8.0 or later" in caplog.text
    with monkeypatch.context() as changed:
        changed.setitem(sys.modules, "text_generation_server.layers.moe.gptq_marlin", None)
        assert type(weights_of(folder).loader) is AutoRoundWeightsLoader
    assert "this TGI does not hold it" in caplog.text


@pytest.mark.parametrize("model_type", ["llama", "qwen2_moe"])
def test_architectures_whose_experts_tgi_never_fuses_are_not_spoken_of(
    model_type: str, moe: marlin_double.Moe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        weights = weights_of(mixtral_files.write(tmp_path, model_type=model_type))
    assert type(weights.loader) is AutoRoundWeightsLoader
    assert caplog.messages == []


def test_without_an_nvidia_gpu_there_is_nothing_to_choose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert type(weights_of(mixtral_files.write(tmp_path)).loader) is AutoRoundWeightsLoader
    assert caplog.messages == []
