"""The packed layout against its description, read code by code; sizes; and which layers the kernel takes where."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.kernels.cuda.layers import random_layer
from tests.kernels.cuda.test_launcher import CUBIN
from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme
from tgi_autoround.kernels import KERNELS, select
from tgi_autoround.kernels.cuda import PortableKernel, configuration, driver, manifest, portable
from tgi_autoround.kernels.cuda import shipped as machine_code
from tgi_autoround.kernels.cuda.configuration import MAX_ROWS, WORKSPACE_BYTES, Device, choose
from tgi_autoround.kernels.cuda.layout import features_in_tile

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LANE_AT_POSITION = [0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11, 18, 19, 26, 27, 4, 5, 12, 13, 20, 21, 28, 29]
LANE_AT_POSITION += [6, 7, 14, 15, 22, 23, 30, 31]
H100, A100, L4 = Device(132, 232_448), Device(108, 166_912), Device(58, 101_376)
SPEC = random_layer(4, True, 256, 64, 128).spec


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("in_features", [96, 320, 512])
def test_every_code_lies_where_the_layout_says_and_the_rest_is_zero(bits: int, in_features: int) -> None:
    layer = random_layer(bits, False, in_features, 5, 32)
    lanes = PortableKernel().prepare(layer, CPU, torch.float16)["lanes"].numpy().view(np.uint16)
    in_tile = 32 * (16 // bits)
    assert lanes.shape == (-(-in_features // in_tile), 5, 32)
    expected = np.zeros(lanes.shape, dtype=np.uint16)
    for feature in range(in_features):
        tile, in_this_tile = divmod(feature, in_tile)
        shift, lane = divmod(in_this_tile, 32)
        expected[tile, :, LANE_AT_POSITION.index(lane)] |= layer.codes[feature].numpy().astype(np.uint16) << (
            shift * bits
        )
    assert np.array_equal(lanes, expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sym", [True, False])
def test_the_size_is_known_before_packing_and_is_about_the_files(bits: int, sym: bool) -> None:
    layer = random_layer(bits, sym, 2048, 64, 128)
    buffers = PortableKernel().prepare(layer, CPU, torch.bfloat16)
    taken = sum(tensor.nbytes for tensor in buffers.values())
    assert taken == PortableKernel().weight_bytes(layer.spec, torch.bfloat16)
    zero_points_bits = 0 if sym else bits
    in_file = 64 * (2048 * bits + 16 * (16 + zero_points_bits)) / 8
    assert taken < in_file * (1.1 if bits == 3 else 1.03)  # 3-bit lanes waste 1 of 16 bits; zero points are bytes


def test_zero_points_beyond_the_codes_range_are_kept() -> None:
    for bits in (2, 4, 8):
        layer = random_layer(bits, False, 64, 8, 32)
        layer.zero_points.fill_(1 << bits)
        assert (PortableKernel().prepare(layer, CPU, torch.float16)["zero_points"] == 1 << bits).all()


@pytest.mark.parametrize("device", [H100, A100, L4], ids=["H100", "A100", "L4"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(4096, 4096), (28672, 8192), (3584, 151936), (64, 100)], ids=str)
def test_configurations_fit_the_device_and_the_workspace(device: Device, bits: int, shape: tuple[int, int]) -> None:
    spec = LayerSpec("layer", QuantScheme(bits, 128, True, Packing.GPTQ), *shape, has_bias=False)
    compiled_at_load = {(each.rows, each.splits > 1) for each in configuration.all_of(spec, device)}
    for rows in range(1, MAX_ROWS + 1):
        chosen = choose(rows, spec, device)
        in_stage = 2 * (chosen.rows * features_in_tile(bits) + chosen.columns * 32)
        assert chosen.stages * in_stage <= device.shared_bytes
        blocks = -(-rows // chosen.rows) * -(-spec.out_features // chosen.columns)
        assert chosen.splits == 1 or blocks * chosen.splits * chosen.rows * chosen.columns * 4 <= WORKSPACE_BYTES
        assert chosen.splits == 1 or blocks <= configuration.MAX_BLOCKS_TO_SPLIT
        assert (chosen.rows, chosen.splits > 1) in compiled_at_load
    at_a_time = configuration.columns_at_a_time(spec)
    assert at_a_time % 64 == 0
    assert at_a_time * spec.in_features * 2 <= WORKSPACE_BYTES


def test_on_a_gpu_it_comes_before_the_dequantized_kernel_and_takes_16_bit_activations() -> None:
    assert select(SPEC, CUDA, torch.bfloat16).name == "cuda-triton"
    assert select(SPEC, CUDA, torch.float16).name == "cuda-triton"
    assert select(SPEC, CUDA, torch.float32).name == "dequantized"
    assert [kernel.name for kernel in KERNELS][-2:] == ["cuda-triton", "dequantized"]


def test_elsewhere_it_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = PortableKernel().supports
    assert reason(SPEC, CPU, torch.float16) == "it runs on NVIDIA GPUs, not on cpu"
    assert reason(SPEC, CUDA, torch.float32) == "it multiplies float16 and bfloat16, not float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert reason(SPEC, CUDA, torch.float16) == "it needs a GPU of compute capability 8.0 or later"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(manifest, "shipped", dict)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "C compiler" in str(reason(SPEC, CUDA, torch.float16))
    monkeypatch.setattr(portable, "find_spec", lambda name: None)
    assert "triton is not installed" in str(reason(SPEC, CUDA, torch.float16))


@pytest.mark.parametrize(
    ("layer", "is_taken"),
    [
        ((4, True, 4096, 4096, 128), True),
        ((3, False, 4096, 4096, 64), True),
        ((2, False, 4096, 4096, -1), True),
        ((8, True, 4096, 4096, 32), True),
        ((4, True, 4096, 4096, 48), False),
        ((4, True, 4096, 4100, 128), False),
        ((2, True, 4224, 4096, 128), False),
        ((5, True, 4096, 4096, 128), False),
    ],
    ids=str,
)
def test_with_machine_code_in_the_package_the_usual_layers_need_neither_triton_nor_a_compiler(
    layer: tuple[int, bool, int, int, int], is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {(each.architecture, each.name): replace(CUBIN, name=each.name) for each in machine_code.portable()}
    monkeypatch.setattr(manifest, "shipped", lambda: names)
    monkeypatch.setattr(driver, "version", lambda: 12000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(portable, "find_spec", lambda name: None)
    bits, sym, in_features, out_features, group_size = layer
    scheme = QuantScheme(bits, group_size, sym, Packing.GPTQ)
    spec = LayerSpec("layer", scheme, in_features, out_features, has_bias=False)
    assert (PortableKernel().supports(spec, CUDA, torch.float16) is None) == is_taken


def test_the_layers_own_tensors_are_not_changed() -> None:
    layer = random_layer(4, False, 96, 16, 32)
    before = NormalForm(layer.spec, layer.codes.clone(), layer.zero_points.clone(), layer.scales.clone())
    PortableKernel().prepare(layer, CPU, torch.float16)
    assert torch.equal(layer.codes, before.codes)
    assert torch.equal(layer.zero_points, before.zero_points)
