import torch
from torch import nn

from tests.checkpoint.random_weights import random_weight
from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.composite import CompositeQLinear, side_by_side
from tgi_autoround.kernels import KERNELS
from tgi_autoround.linear import QLinear

CPU = torch.device("cpu")
EXACT = tuple(kernel for kernel in KERNELS if kernel.exact)


def expected_output(x: torch.Tensor, weights: list[NormalForm]) -> torch.Tensor:
    parts = [x.double() @ weight.dequantize().double().t() for weight in weights]
    return torch.cat([y if w.bias is None else y + w.bias.double() for y, w in zip(parts, weights, strict=True)], -1)


def test_q_of_8_bits_beside_k_and_v_of_4_computes_all_three_with_k_and_v_in_one() -> None:
    q = random_weight(bits=8, sym=True, out_features=64, name="q", bias=True, seed=1)
    k, v = (random_weight(bits=4, sym=True, out_features=32, name=name, seed=2) for name in "kv")
    layer = side_by_side([q, k, v], CPU, torch.float32, kernels=EXACT)
    assert isinstance(layer, CompositeQLinear)
    assert [(part.spec.name, part.out_features) for part in layer.parts] == [("q", 64), ("k+v", 64)]
    assert (layer.in_features, layer.out_features) == (64, 128)
    x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0))
    expected = expected_output(x, [q, k, v])
    assert (layer(x) - expected).norm() < 1e-5 * expected.norm()


def test_gate_and_up_of_one_scheme_are_a_single_layer() -> None:
    gate, up = (random_weight(out_features=48, seed=seed) for seed in (1, 2))
    layer = side_by_side([gate, up], CPU, torch.float32, kernels=EXACT)
    assert isinstance(layer, QLinear)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    expected = expected_output(x, [gate, up])
    assert (layer(x) - expected).norm() < 1e-5 * expected.norm()


def test_parts_of_different_act_order_stay_apart() -> None:
    first, second = (random_weight(act_order=True, seed=seed) for seed in (1, 2))
    layer = side_by_side([first, second], CPU, torch.float32, kernels=EXACT)
    assert isinstance(layer, CompositeQLinear)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    expected = expected_output(x, [first, second])
    assert (layer(x) - expected).norm() < 1e-5 * expected.norm()


def test_a_part_in_floating_point_keeps_its_place() -> None:
    k, v = random_weight(seed=1), random_weight(seed=2)
    q = nn.Linear(64, 8, bias=False)
    layer = side_by_side([k, q, v], CPU, torch.float32, kernels=EXACT)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    assert layer.out_features == 40
    assert torch.equal(layer(x)[:, 16:24], q(x))
    assert (layer(x)[:, 24:] - expected_output(x, [v])).norm() < 1e-4
