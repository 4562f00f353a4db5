"""Every kind of checkpoint that the coverage matrix holds, through Gaudi's kernels."""

import numpy as np
import pytest
import torch

from tests.coverage import build
from tests.coverage.cases import CASES, Case
from tests.coverage.test_matrix import LOGITS_BOUND, difference
from tests.decoder import decode_checkpoint
from tests.gaudi.oracle import weight_in_bfloat16
from tests.gaudi.test_kernels import BOUND, HPU_KERNELS, kernel_for, relative_error
from tests.oracle import dequantized_model
from tgi_autoround.checkpoint import NormalForm, open_checkpoint
from tgi_autoround.linear import QLinear
from tgi_autoround.modeling import build_model

CPU, BF16 = torch.device("cpu"), torch.bfloat16
EVERY_CASE = [pytest.param(case, id=case.name, marks=[] if case.fast else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("case", EVERY_CASE)
def test_every_layer_computes_what_its_file_says(case: Case) -> None:
    folder = build.checkpoint(case)
    checkpoint, oracle = open_checkpoint(folder), decode_checkpoint(folder)
    assert set(checkpoint.quantized_layers) == set(oracle)
    for name, decoded in oracle.items():
        weight = checkpoint.load_layer(name)
        assert_exact(weight, decoded)
        assert_multiplies(weight, decoded)


@pytest.mark.parametrize("case", EVERY_CASE)
def test_logits_are_those_of_the_dequantized_model(case: Case) -> None:
    folder = build.checkpoint(case)
    checkpoint = open_checkpoint(folder)
    model = build_model(checkpoint, device=CPU, dtype=torch.float32, kernels=HPU_KERNELS)
    kernels = {layer.kernel.name for layer in model.modules() if isinstance(layer, QLinear)}
    assert kernels == {
        "hpu-uint4" if spec.scheme.bits <= 4 else "hpu-int8" for spec in checkpoint.quantized_layers.values()
    }
    assert difference(model, dequantized_model(folder)) < LOGITS_BOUND


def assert_exact(weight: NormalForm, decoded: dict[str, np.ndarray]) -> None:
    """In float32 against the file's weight; in bfloat16 against its codes with rounded scales."""
    order = np.arange(weight.spec.in_features) if weight.input_order is None else weight.input_order.numpy()
    expected = {
        torch.float32: decoded["weight"].T[order],
        BF16: weight_in_bfloat16(
            decoded["codes"][order], decoded["zero_points"], weight.scales.numpy(), weight.spec.group_size
        ),
    }
    for dtype, values in expected.items():
        kernel = kernel_for(weight, dtype)
        got = kernel.weight(kernel.prepare(weight, CPU, dtype), weight.spec)
        np.testing.assert_array_equal(got.float().numpy(), values, err_msg=weight.spec.name)


def assert_multiplies(weight: NormalForm, decoded: dict[str, np.ndarray]) -> None:
    layer = QLinear(weight, kernel_for(weight, torch.float32), CPU, torch.float32)
    x = torch.randn(2, weight.spec.in_features, generator=torch.Generator().manual_seed(0))
    expected = x.double() @ torch.from_numpy(decoded["weight"]).double().t()
    if weight.bias is not None:
        expected += weight.bias.double()
    assert relative_error(layer(x), expected) < BOUND[torch.float32], weight.spec.name
