"""TGI's weights loader against the tests' own decoder: what every rank computes, put together, is the whole layer."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from text_generation_server.utils.weights import ProcessGroup, UnquantizedWeight, Weights

from tests.checkpoint import drafts
from tests.coverage import build
from tests.coverage.cases import CASES
from tests.decoder import decode_checkpoint
from tests.gaudi import emulated_op  # noqa: F401 - registers it
from tgi_autoround.checkpoint import open_checkpoint
from tgi_autoround.composite import CompositeQLinear
from tgi_autoround.errors import CheckpointError, UnsupportedError
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.linear import QLinear
from tgi_autoround.tgi.loader import AutoRoundWeightsLoader, is_quantized
from tgi_autoround.tgi.log import tell_once

W4 = "auto_round W4 sym g128"
MIXED = "mixed bits, auto_round sym"
BIASED = "bias"
ODD_GROUPS = "352 inputs in groups of 128, auto_round W4 sym"
ATTENTION, MLP = "model.layers.0.self_attn", "model.layers.0.mlp"
QKV = [f"{ATTENTION}.{name}_proj" for name in "qkv"]
BOUND = 1e-5


@pytest.fixture(params=["cpu", "gaudi"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose kernels make linears: Gaudi's run on its emulated op."""
    if request.param == "gaudi":
        monkeypatch.setattr("tgi_autoround.tgi.weight.KERNELS", (HpuUint4Kernel("cpu"), HpuInt8Kernel("cpu")))
    return request.param


@functools.cache
def folder_of(case: str) -> Path:
    return build.checkpoint(next(each for each in CASES if each.name == case))


def weights_of(folder: Path, rank: int = 0, ranks: int = 1, **names: Any) -> Weights:
    loader = AutoRoundWeightsLoader(open_checkpoint(folder))
    files = sorted(folder.glob("*.safetensors"))
    return Weights(files, torch.device("cpu"), torch.float32, ProcessGroup(rank, ranks), loader, **names)


def every_rank(case: str, ranks: int) -> list[Weights]:
    return [weights_of(folder_of(case), rank, ranks) for rank in range(ranks)]


def inputs(features: int) -> torch.Tensor:
    return torch.randn(3, features, generator=torch.Generator().manual_seed(0))


def dense(case: str, layer: str) -> torch.Tensor:
    """The layer's weight as float64 [out_features, in_features], decoded or as the file has it."""
    decoded = decode_checkpoint(folder_of(case)).get(layer)
    return torch.from_numpy(decoded["weight"]).double() if decoded else stored(case, f"{layer}.weight")


def stored(case: str, tensor: str) -> torch.Tensor:
    for path in folder_of(case).glob("*.safetensors"):
        file = safe_open(path, framework="pt")
        if tensor in file.keys():  # noqa: SIM118
            return file.get_tensor(tensor).double()
    raise KeyError(tensor)


def assert_close(output: torch.Tensor, expected: torch.Tensor) -> None:
    assert output.shape == expected.shape
    assert (output - expected).norm() < BOUND * expected.norm()


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", [W4, MIXED, BIASED])
def test_q_k_and_v_fused_over_all_ranks_compute_each_layer_whatever_its_width(
    case: str, ranks: int, machine: str
) -> None:
    x = inputs(256)
    outputs = [w.get_multi_weights_col(QKV, dim=0).get_linear(bias=None)(x) for w in every_rank(case, ranks)]
    for number, layer in enumerate(QKV):
        expected = x.double() @ dense(case, layer).t()
        if case == BIASED:
            expected += stored(case, f"{layer}.bias")
        size = expected.shape[1] // ranks
        start = sum(dense(case, before).shape[0] for before in QKV[:number]) // ranks
        assert_close(torch.cat([output[:, start : start + size] for output in outputs], -1), expected)


@pytest.mark.parametrize("case", [W4, MIXED])
def test_layers_that_are_not_split_are_whole_on_every_rank_whatever_their_widths(case: str) -> None:
    layers = [f"{MLP}.up_proj", *QKV]
    x = inputs(256)
    expected = torch.cat([x.double() @ dense(case, layer).t() for layer in layers], -1)
    for w in every_rank(case, 2):
        assert_close(w.get_multi_weights(layers, dim=0).get_linear(bias=None)(x), expected)


def test_equal_layers_are_fused_into_one_and_different_ones_kept_apart() -> None:
    assert isinstance(weights_of(folder_of(W4)).get_multi_weights_col(QKV, dim=0).get_linear(None), QLinear)
    mixed = weights_of(folder_of(MIXED)).get_multi_weights_col(QKV, dim=0).get_linear(None)
    assert isinstance(mixed, CompositeQLinear)
    assert len(mixed.parts) == 3


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("case", [W4, ODD_GROUPS, BIASED])
def test_ranks_that_share_the_inputs_add_up_to_the_layer_also_where_they_cut_groups(
    case: str, ranks: int, machine: str
) -> None:
    layer = f"{MLP}.down_proj"
    expected_weight = dense(case, layer)
    x = inputs(expected_weight.shape[1])
    total = sum(
        w.get_weights_row(layer).get_linear(bias=None)(part).double()
        for w, part in zip(every_rank(case, ranks), x.chunk(ranks, dim=-1), strict=True)
    )
    expected = x.double() @ expected_weight.t()
    assert_close(total, expected + stored(case, f"{layer}.bias") if case == BIASED else expected)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_bias_that_tgi_read_itself_is_added_once_and_to_its_own_outputs(ranks: int) -> None:
    x = inputs(256)
    for w in every_rank(MIXED, ranks):
        weight = w.get_multi_weights_col(QKV, dim=0)
        outputs = weight.get_linear(bias=None)(x)
        bias = torch.arange(outputs.shape[1], dtype=torch.float32)
        assert_close(weight.get_linear(bias)(x) - outputs, bias.expand_as(outputs).double())


@pytest.mark.parametrize("blocks", [2, [4, 1, 1]])
def test_a_layer_of_several_blocks_gives_every_rank_its_part_of_each(blocks: int | list[int]) -> None:
    layer = f"{MLP}.up_proj"
    x = inputs(256)
    outputs = [w.get_weights_col_packed(layer, blocks).get_linear(None)(x) for w in every_rank(W4, 2)]
    whole = x.double() @ dense(W4, layer).t()
    proportions = blocks if isinstance(blocks, list) else [1] * blocks
    sizes = [whole.shape[1] * proportion // sum(proportions) for proportion in proportions]
    by_rank = [torch.cat(halves, -1) for halves in zip(*(b.chunk(2, -1) for b in whole.split(sizes, -1)), strict=True)]
    for output, expected in zip(outputs, by_rank, strict=True):
        assert_close(output, expected)


def test_a_prefix_that_stays_in_floating_point_is_tgis_own_weight() -> None:
    weights = weights_of(folder_of(MIXED))
    assert is_quantized(weights, f"{MLP}.down_proj")
    assert isinstance(weights.get_weights_row("model.layers.1.mlp.down_proj"), UnquantizedWeight)
    assert torch.equal(weights.get_weights("lm_head").double(), stored(MIXED, "lm_head.weight"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_layer_in_floating_point_beside_packed_ones_keeps_its_place(ranks: int) -> None:
    layers = ["model.layers.1.mlp.down_proj", "model.layers.0.mlp.down_proj"]
    x = inputs(384)
    outputs = [w.get_multi_weights_col(layers, dim=0).get_linear(None)(x) for w in every_rank(MIXED, ranks)]
    halves = [torch.cat([output.chunk(2, -1)[number] for output in outputs], -1) for number in range(2)]
    for half, layer in zip(halves, layers, strict=True):
        assert_close(half, x.double() @ dense(MIXED, layer).t())


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_quantized_head_is_split_where_the_vocabulary_splits_and_whole_where_not(ranks: int) -> None:
    class Head:
        def __init__(self, linear: Any, process_group: Any, should_gather: bool) -> None:
            self.linear, self.should_gather = linear, should_gather

    layer = f"{ATTENTION}.q_proj"  # 256 outputs
    x = inputs(256)
    heads = [w.weights_loader.load_head(Head, w, layer) for w in every_rank(W4, ranks)]
    expected = x.double() @ dense(W4, layer).t()
    assert {head.should_gather for head in heads} == {ranks == 2}
    parts = [head.linear(x) for head in heads]
    assert_close(torch.cat(parts, -1) if ranks == 2 else parts[-1], expected)


def test_names_are_found_by_prefix_and_alias_as_tgi_finds_them() -> None:
    weights = weights_of(folder_of(W4), prefix="model", aliases={"other.qweight": [f"{MLP}.up_proj.qweight"]})
    for prefix in ("layers.0.mlp.up_proj", "other"):
        assert_close(
            weights.get_weights_col(prefix).get_linear(None)(inputs(256)),
            inputs(256).double() @ dense(W4, f"{MLP}.up_proj").t(),
        )


def test_mixtrals_experts_are_found_under_the_names_that_auto_round_gives_them() -> None:
    expert = "model.layers.0.block_sparse_moe.experts.1"
    linear = weights_of(folder_of("mixtral")).get_weights_row(f"{expert}.w2").get_linear(None)
    x = inputs(256)
    assert_close(linear(x), x.double() @ dense("mixtral", f"{expert}.down_proj").t())


def test_a_layer_that_does_not_split_is_refused_with_its_name_and_the_remedy() -> None:
    weights = weights_of(folder_of(W4), rank=0, ranks=3)
    with pytest.raises(UnsupportedError, match=r"q_proj: .*256 output features do not split over 3 shards.*num-shard"):
        weights.get_weights_col(f"{ATTENTION}.q_proj")


def test_a_layer_that_the_config_quantizes_but_the_file_does_not_is_refused(tmp_path: Path) -> None:
    drafts.write_files(drafts.sound_files(), tmp_path)
    plain = tmp_path / "plain.safetensors"
    save_file({"model.layers.0.mlp.down_proj.weight": torch.zeros(8, 8)}, plain)
    loader = AutoRoundWeightsLoader(open_checkpoint(tmp_path))
    weights = Weights([plain], torch.device("cpu"), torch.float32, ProcessGroup(0, 1), loader)
    with pytest.raises(
        CheckpointError, match=r"down_proj: the config says 4 bits, but the file holds no packed weight"
    ):
        weights.get_weights_row("model.layers.0.mlp.down_proj")


def test_a_vision_tower_that_the_config_does_not_name_stays_in_floating_point(tmp_path: Path) -> None:
    files = drafts.sound_files()
    drafts.only_quantization({"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True})(files)
    drafts.write_files(files, tmp_path)
    plain = tmp_path / "plain.safetensors"
    save_file({f"{tower}.0.q_proj.weight": torch.ones(8, 8) for tower in ("visual.blocks", "model.layers")}, plain)
    loader = AutoRoundWeightsLoader(open_checkpoint(tmp_path))
    weights = Weights([plain], torch.device("cpu"), torch.float32, ProcessGroup(0, 1), loader)
    assert isinstance(weights.get_weights_row("visual.blocks.0.q_proj"), UnquantizedWeight)
    with pytest.raises(CheckpointError, match=r"model.layers.0.q_proj: the config says 4 bits"):
        weights.get_weights_row("model.layers.0.q_proj")


def test_the_log_says_once_which_kernel_runs_layers_of_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    tell_once.cache_clear()
    for _ in range(2):
        weights_of(folder_of(W4)).get_weights_col(f"{MLP}.up_proj").get_linear(None)
    (said,) = (record.message for record in caplog.records if "kernel" in record.message)
    assert said.startswith("auto-round: 4 bits, sym, groups of 128: kernel dequantized (cuda-hopper: it multiplies")
    assert "tgi-marlin: it runs on NVIDIA" in said


def test_lora_finds_the_device_and_granite_cannot_scale_the_weight_in_place() -> None:
    linear = weights_of(folder_of(MIXED)).get_multi_weights_col(QKV, dim=0).get_linear(bias=None)
    assert linear.weight.device.type == "cpu"
    with pytest.raises(RuntimeError):
        linear.weight.data /= 4.0
