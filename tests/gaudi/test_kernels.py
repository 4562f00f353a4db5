"""Gaudi's kernels on the emulated op, bit for bit against numpy."""

import time

import numpy as np
import pytest
import torch

from tests.checkpoint.random_weights import random_weight
from tests.gaudi.layers import make_layer
from tests.gaudi.oracle import pack_words, weight_in_bfloat16
from tgi_autoround.checkpoint import NormalForm, Packing
from tgi_autoround.checkpoint.sharding import columns
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels import KERNELS, select
from tgi_autoround.kernels.hpu import HpuInt8Kernel, HpuUint4Kernel
from tgi_autoround.kernels.hpu.packing import pack_nibbles
from tgi_autoround.linear import QLinear

CPU, HPU = torch.device("cpu"), torch.device("hpu")
HPU_KERNELS = (HpuUint4Kernel("cpu"), HpuInt8Kernel("cpu"))
SCHEMES = [
    *(
        (bits, sym, layout)
        for bits in range(2, 9)
        for sym in (True, False)
        for layout in (Packing.GPTQ, Packing.GPTQ_RAW)
    ),
    *((4, sym, Packing.AWQ) for sym in (True, False)),
]
SHAPES = [(256, 96, 32), (128, 32, -1), (352, 64, 128), (352, 32, 16), (96, 64, 128), (64, 32, 1)]
BOUND = {torch.bfloat16: 4e-3, torch.float32: 1e-5}
"""Relative L2 error of a product: one rounding of each output, and of each bias, to 8 bits in bfloat16."""


def kernel_for(weight: NormalForm, dtype: torch.dtype) -> HpuUint4Kernel | HpuInt8Kernel:
    return select(weight.spec, CPU, dtype, kernels=HPU_KERNELS)


def relative_error(y: torch.Tensor, expected: torch.Tensor) -> float:
    return ((y.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_weight_is_exact_but_for_scales_and_products_rounded_to_the_compute_dtype(
    scheme: tuple[int, bool, Packing], shape: tuple[int, int, int]
) -> None:
    layer = make_layer(*scheme, shape)
    spec = layer.weight.spec
    in_bfloat16 = weight_in_bfloat16(layer.codes, layer.zero_points, layer.scales, spec.group_size)
    for dtype, expected in (
        (torch.bfloat16, in_bfloat16),
        (torch.float32, layer.weight.dequantize().t().numpy()),
    ):
        kernel = kernel_for(layer.weight, dtype)
        got = kernel.weight(kernel.prepare(layer.weight, CPU, dtype), spec)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got.float().numpy(), expected)


@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_activations_of_any_rank_are_multiplied_and_the_bias_added(
    scheme: tuple[int, bool, Packing], dtype: torch.dtype
) -> None:
    weight = make_layer(*scheme, (352, 64, 128)).weight
    kernel = kernel_for(weight, dtype)
    buffers = kernel.prepare(weight, CPU, dtype)
    x = torch.randn(2, 3, 352, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = kernel.forward(x, buffers, weight.spec)
    assert y.shape == (2, 3, 64)
    assert y.dtype == dtype
    expected = x.double() @ kernel.weight(buffers, weight.spec).double() + weight.bias.double()
    assert relative_error(y, expected) < BOUND[dtype]


@pytest.mark.parametrize("out_features", [1, 4, 13, 40])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_outputs_need_not_fill_words(bits: int, out_features: int) -> None:
    whole = make_layer(bits, False, Packing.GPTQ, (128, 64, 32))
    weight = columns(whole.weight, 0, out_features)
    kernel = kernel_for(weight, torch.bfloat16)
    got = kernel.weight(kernel.prepare(weight, CPU, torch.bfloat16), weight.spec)
    expected = weight_in_bfloat16(whole.codes, whole.zero_points, whole.scales, 32)[:, :out_features]
    np.testing.assert_array_equal(got.float().numpy(), expected)


@pytest.mark.parametrize("bits", [4, 8])
def test_act_order_permutes_the_input_and_leaves_scales_as_they_are(bits: int) -> None:
    weight = random_weight(bits=bits, in_features=128, out_features=24, group_size=32, act_order=True)
    layer = QLinear(weight, kernel_for(weight, torch.float32), CPU, torch.float32)
    assert layer.scales.shape == (4, 24)
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    assert relative_error(layer(x), x.double() @ weight.dequantize().t().double()) < BOUND[torch.float32]


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("sym", [True, False])
def test_a_kernel_knows_beforehand_what_its_buffers_take(bits: int, sym: bool) -> None:
    weight = random_weight(bits=bits, sym=sym, in_features=88, out_features=13, group_size=32)
    for dtype in BOUND:
        kernel = kernel_for(weight, dtype)
        buffers = kernel.prepare(weight, CPU, dtype)
        assert kernel.weight_bytes(weight.spec, dtype) == sum(buffer.nbytes for buffer in buffers.values())


def test_four_bits_stay_four_bits() -> None:
    weight = random_weight(bits=4, in_features=1024, out_features=256, group_size=128)
    assert HpuUint4Kernel().weight_bytes(weight.spec, torch.bfloat16) * 8 / weight.codes.numel() == 4 + 20 / 128


def test_words_are_those_of_numpy() -> None:
    codes = torch.randint(0, 16, (33, 72), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    np.testing.assert_array_equal(pack_nibbles(codes).numpy(), pack_words(codes.numpy()))


def test_a_large_layer_is_packed_in_half_a_second() -> None:
    weight = random_weight(in_features=4096, out_features=14336, group_size=128)
    taken_s = []
    for _ in range(3):
        started_s = time.perf_counter()
        HpuUint4Kernel("cpu").prepare(weight, CPU, torch.bfloat16)
        taken_s.append(time.perf_counter() - started_s)
    assert min(taken_s) < 0.5


def test_preparing_leaves_the_weight_as_it_was() -> None:
    weight = random_weight(bits=8, in_features=64, out_features=8)
    codes = weight.codes.clone()
    HpuInt8Kernel("cpu").prepare(weight, CPU, torch.bfloat16)
    assert torch.equal(weight.codes, codes)


@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("zero_point", [8, 16])
def test_a_layer_whose_weight_the_op_computes_wrong_is_refused(
    zero_point: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = random_weight(bits=4, sym=False, in_features=64, out_features=24, group_size=32)
    weight.zero_points[1, 3] = zero_point
    op = torch.ops.hpu.convert_from_uint4
    kernel = HpuUint4Kernel("cpu")
    monkeypatch.setattr("tgi_autoround.kernels.hpu.check._right", set())
    with monkeypatch.context() as patched:
        patched.setattr(
            torch.ops.hpu, "convert_from_uint4", lambda words, scale, zeros, out: op(words, scale, zeros, out) * 1.02
        )
        for _ in range(2):
            with pytest.raises(UnsupportedError, match=r"layer .*hpu-uint4 on cpu computes other.*hpu_selftest\.py"):
                kernel.prepare(weight, CPU, dtype)
    kernel.prepare(weight, CPU, dtype)


def test_layers_of_a_kind_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random_weight(bits=4, in_features=64, out_features=24, group_size=32)
    calls = []
    op = torch.ops.hpu.convert_from_uint4
    monkeypatch.setattr("tgi_autoround.kernels.hpu.check._right", set())
    monkeypatch.setattr(torch.ops.hpu, "convert_from_uint4", lambda *given: (calls.append(given), op(*given))[1])
    for dtype in (torch.bfloat16, torch.bfloat16, torch.float32):
        HpuUint4Kernel("cpu").prepare(weight, CPU, dtype)
    assert len(calls) == 2


@pytest.mark.parametrize(("bits", "kernel"), [(2, "hpu-uint4"), (3, "hpu-uint4"), (4, "hpu-uint4"), (8, "hpu-int8")])
def test_a_gaudi_runs_every_width_packed(bits: int, kernel: str) -> None:
    assert select(random_weight(bits=bits).spec, HPU, torch.bfloat16).name == kernel


def test_other_devices_and_half_precision_are_passed_over_with_a_sentence() -> None:
    spec = random_weight(bits=4).spec
    assert HpuUint4Kernel().supports(spec, CPU, torch.bfloat16) == "it runs on hpu, not on cpu"
    assert HpuInt8Kernel().supports(spec, CPU, torch.bfloat16) == "it runs on hpu, not on cpu"
    assert "--dtype bfloat16" in HpuUint4Kernel().supports(spec, HPU, torch.float16)
    assert not any(
        kernel.name.startswith("hpu") for kernel in KERNELS if kernel.supports(spec, CPU, torch.float32) is None
    )
