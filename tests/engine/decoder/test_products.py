"""Every kind of linear that a decoder may hold, as the lean forward calls it, against the module itself."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.kernels.test_kernels import CPU, make_layer
from tgi_autoround.checkpoint import NormalForm, Packing
from tgi_autoround.composite import CompositeQLinear, FusedLinear, grouped
from tgi_autoround.engine.decoder.products import product
from tgi_autoround.engine.decoder.weights import Linear
from tgi_autoround.kernels.cpu import ArkKernel
from tgi_autoround.kernels.dequantized import DequantizedKernel
from tgi_autoround.linear import QLinear

INPUTS = 256


def packed(bits: int, *, bias: bool = False) -> NormalForm:
    return make_layer(bits, True, Packing.GPTQ, (INPUTS, 96, 32), bias=bias)


def quantized(weight: NormalForm, kernel: ArkKernel | DequantizedKernel | None = None) -> QLinear:
    return QLinear(weight, kernel or ArkKernel("fp32"), CPU, torch.float32)


LINEARS = {
    "packed": lambda: quantized(packed(4, bias=True)),
    "packed, inputs in another order": lambda: quantized(replace(packed(4), input_order=torch.randperm(INPUTS))),
    "packed, another kernel": lambda: quantized(packed(4), DequantizedKernel()),
    "floating point": lambda: nn.Linear(INPUTS, 96, bias=False),
    "floating point, bias": lambda: nn.Linear(INPUTS, 96),
    "widths apart": lambda: CompositeQLinear([quantized(packed(4)), quantized(packed(8)), nn.Linear(INPUTS, 32)]),
}


@pytest.mark.parametrize("kind", LINEARS)
@torch.inference_mode()
def test_a_product_writes_what_its_linear_returns(kind: str) -> None:
    torch.manual_seed(0)
    linear: Linear = LINEARS[kind]()
    rows, out = torch.randn(5, INPUTS), torch.full((5, linear.out_features), torch.nan)
    product(linear)(rows, out)
    assert torch.allclose(out, linear(rows), atol=1e-6)


def test_layers_are_loaded_as_one_only_if_all_of_them_are_there() -> None:
    qkv, gate_up = FusedLinear("a.qkv", ("a.q", "a.k", "a.v")), FusedLinear("m.gate_up", ("m.gate", "m.up"))
    layers = grouped(["a.q", "m.gate", "a.k", "m.up", "a.o"], [qkv, gate_up])
    assert layers == [gate_up, *(FusedLinear(path, (path,)) for path in ("a.q", "a.k", "a.o"))]
