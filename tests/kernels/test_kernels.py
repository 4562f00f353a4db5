from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.decoder import decode_layer
from tgi_autoround.checkpoint import LayerSpec, NormalForm, Packing, QuantScheme, packing
from tgi_autoround.checkpoint.normal_form import unpack
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels import KERNELS, Kernel, ReferenceKernel, select
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.linear import QLinear

CPU = torch.device("cpu")
PLAIN = LayerSpec("layer", QuantScheme(4, 32, True, Packing.GPTQ), 256, 64, has_bias=False)
EVERY_KERNEL = (
    *(kernel for kernel in KERNELS if kernel.supports(PLAIN, CPU, torch.float32) is None),
    ReferenceKernel(),
)
BOUND = {True: 1e-5, False: 1.5e-2}
"""Relative L2 error: fp32 arithmetic, and activations rounded to 8 bits."""
SHAPES = [(256, 96, 32), (256, 64, -1), (512, 256, 128), (128, 32, 64), (352, 64, 128)]
SCHEMES = [
    *((bits, sym, Packing.GPTQ) for bits in (2, 3, 4, 5, 6, 7, 8) for sym in (True, False)),
    (4, True, Packing.AWQ),
    (4, False, Packing.AWQ),
]


def make_layer(bits: int, sym: bool, layout: Packing, shape: tuple[int, int, int], *, bias: bool) -> NormalForm:
    """A random layer, packed and read back, with an oracle's weight checked against it."""
    in_features, out_features, group_size = shape
    random = torch.Generator().manual_seed(hash((bits, sym, shape)) % 2**31)
    spec = LayerSpec("layer", QuantScheme(bits, group_size, sym, layout), in_features, out_features, bias)
    codes = torch.randint(0, 1 << bits, (in_features, out_features), generator=random).to(torch.uint8)
    zeros = torch.randint(1, 1 << bits, (spec.num_groups, out_features), generator=random)
    if sym:
        zeros = torch.full_like(zeros, 1 << (bits - 1))
    scales = (torch.randn(spec.num_groups, out_features, generator=random) * 0.02).half()
    if layout is Packing.AWQ:
        qweight, qzeros = packing.pack_awq(codes), packing.pack_awq(zeros)
    else:
        qweight = packing.pack_stream(codes, bits)
        qzeros = packing.pack_stream((zeros - 1).t().contiguous(), bits).t().contiguous()
    offset = torch.randn(out_features, generator=random).half() if bias else None
    weight = unpack(spec, qweight, qzeros, scales, bias=offset)
    tensors = {"qweight": qweight.numpy(), "qzeros": qzeros.numpy(), "scales": scales.numpy()}
    layout_name = "awq" if layout is Packing.AWQ else "gptq"
    oracle = decode_layer(tensors, bits=bits, group_size=group_size, packing=layout_name)
    assert torch.equal(weight.dequantize(), torch.from_numpy(oracle["weight"]))
    return weight


@pytest.mark.parametrize("kernel", EVERY_KERNEL, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("rows", [1, 7])
def test_every_kernel_agrees_with_float64_on_the_decoded_weight(
    kernel: Kernel, scheme: tuple[int, bool, Packing], shape: tuple[int, int, int], rows: int
) -> None:
    weight = make_layer(*scheme, shape, bias=rows == 7)
    if kernel.supports(weight.spec, CPU, torch.float32) is not None:
        assert kernel.name.startswith("cpu-ark")
        return
    x = torch.randn(rows, weight.spec.in_features, generator=torch.Generator().manual_seed(rows))
    expected = x.double() @ weight.dequantize().double().t()
    if weight.bias is not None:
        expected += weight.bias.double()
    y = kernel.forward(x, kernel.prepare(weight, CPU, torch.float32), weight.spec)
    assert y.dtype == x.dtype
    assert (y - expected).norm() / expected.norm() < BOUND[kernel.exact]


@pytest.mark.parametrize("kernel", EVERY_KERNEL, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_kernel_knows_beforehand_what_its_buffers_take(kernel: Kernel, scheme: tuple[int, bool, Packing]) -> None:
    weight = make_layer(*scheme, (256, 96, 32), bias=False)
    for dtype in (torch.float32, torch.bfloat16):
        buffers = kernel.prepare(weight, CPU, dtype)
        assert kernel.weight_bytes(weight.spec, dtype) == sum(tensor.nbytes for tensor in buffers.values())


@pytest.mark.parametrize("kernel", EVERY_KERNEL, ids=lambda kernel: kernel.name)
def test_a_slice_of_wider_activations_gives_what_its_copy_gives(kernel: Kernel) -> None:
    weight = make_layer(4, True, Packing.GPTQ, (256, 64, -1), bias=False)
    buffers = kernel.prepare(weight, CPU, torch.float32)
    wide = torch.randn(5, 512, generator=torch.Generator().manual_seed(0))
    part = wide[:, 256:]
    assert torch.equal(kernel.forward(part, buffers, weight.spec), kernel.forward(part.clone(), buffers, weight.spec))


def test_fp32_compute_gives_a_row_the_same_bits_in_every_batch() -> None:
    weight = make_layer(4, True, Packing.GPTQ, (512, 256, 128), bias=False)
    kernel = select(weight.spec, CPU, torch.float32, exact=True)
    buffers = kernel.prepare(weight, CPU, torch.float32)
    x = torch.randn(33, 512, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([kernel.forward(row[None], buffers, weight.spec) for row in x])
    assert torch.equal(kernel.forward(x, buffers, weight.spec), alone)


def test_the_first_kernel_that_takes_a_layer_is_selected() -> None:
    weight = make_layer(4, True, Packing.GPTQ, (512, 256, 128), bias=False)
    assert select(weight.spec, CPU, torch.float32).name == "cpu-ark-int8"
    assert select(weight.spec, CPU, torch.float32, exact=True).name == "cpu-ark-fp32"


def test_a_group_size_that_does_not_divide_falls_to_the_dequantized_kernel() -> None:
    weight = make_layer(4, True, Packing.GPTQ, (352, 64, 128), bias=False)
    assert select(weight.spec, CPU, torch.float32).name == "dequantized"


def test_a_dequantized_weight_goes_to_its_device_once_as_a_whole() -> None:
    """Each part of it written on a Gaudi in lazy mode would stay pending."""
    results_on_device = []

    class Recorded(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.device.type == "meta":
                results_on_device.append(function)
            return result

    weight = make_layer(4, True, Packing.GPTQ, (256, 96, 32), bias=False)
    with Recorded():
        DequantizedKernel().prepare(weight, torch.device("meta"), torch.bfloat16)
    assert results_on_device == [torch.ops.aten._to_copy.default]


def test_a_layer_that_no_kernel_takes_is_refused_with_every_reason() -> None:
    weight = make_layer(4, True, Packing.GPTQ, (352, 64, 128), bias=False)
    with pytest.raises(UnsupportedError, match=r"cpu-ark-int8: group size 128 .*; cpu-ark-fp32: group size 128"):
        select(weight.spec, CPU, torch.float32, kernels=KERNELS[:2])


@pytest.mark.parametrize("kernel", EVERY_KERNEL, ids=lambda kernel: kernel.name)
def test_act_order_multiplies_each_input_by_its_own_row(kernel: Kernel) -> None:
    weight = make_layer(4, False, Packing.GPTQ, (512, 256, 128), bias=False)
    shuffled = torch.randperm(512, generator=torch.Generator().manual_seed(0))
    ordered = NormalForm(weight.spec, weight.codes, weight.zero_points, weight.scales, input_order=shuffled)
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(1))
    expected = x[:, shuffled].double() @ weight.dequantize().double().t()
    layer = QLinear(ordered, kernel, CPU, torch.float32)
    assert (layer(x) - expected).norm() / expected.norm() < BOUND[kernel.exact]
    assert torch.equal(ordered.dequantize()[:, shuffled], weight.dequantize())
