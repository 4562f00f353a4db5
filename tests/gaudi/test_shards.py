"""Shards of a layer on several cards: each one's weight is the same part, bit for bit, of the whole weight."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.random_weights import random_weight, ranges, weights
from tests.gaudi.test_kernels import kernel_for
from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.checkpoint.sharding import columns, concatenate, rows
from tgi_autoround.linear import QLinear

CPU, BF16 = torch.device("cpu"), torch.bfloat16


def on_card(weight: NormalForm) -> torch.Tensor:
    """The weight as a card computes it: [K, N]."""
    kernel = kernel_for(weight, BF16)
    return kernel.weight(kernel.prepare(weight, CPU, BF16), weight.spec)


@given(st.data())
def test_column_shards_are_columns_of_the_weight(data: st.DataObject) -> None:
    weight = data.draw(weights())
    start, stop = data.draw(ranges(weight.spec.out_features))
    assert torch.equal(on_card(columns(weight, start, stop)), on_card(weight)[:, start:stop])


@given(st.data())
def test_row_shards_are_rows_of_the_weight_also_where_they_cut_groups(data: st.DataObject) -> None:
    weight = data.draw(weights())
    start, stop = data.draw(ranges(weight.spec.in_features, step=2))
    assert torch.equal(on_card(rows(weight, start, stop)), on_card(weight)[start:stop])


def test_a_layer_of_llama_2_splits_into_eight_though_its_groups_do_not() -> None:
    """11008 inputs in 86 groups of 128: each card gets 1376 of them in sub-groups of 32."""
    weight = random_weight(in_features=11008, out_features=16, group_size=128)
    cuts = range(0, 11008 + 1, 1376)
    shards = [rows(weight, start, stop) for start, stop in pairwise(cuts)]
    assert {shard.spec.group_size for shard in shards} == {32}
    assert torch.equal(torch.cat([on_card(shard) for shard in shards]), on_card(weight))


@pytest.mark.parametrize("bits", [4, 8])
def test_row_shards_of_act_order_take_their_own_inputs(bits: int) -> None:
    weight = random_weight(bits=bits, in_features=64, out_features=16, group_size=-1, act_order=True, bias=True)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    expected = x.double() @ weight.dequantize().t().double() + weight.bias.double()
    outputs = []
    for start, stop in ((0, 32), (32, 64)):
        shard = rows(weight, start, stop)
        layer = QLinear(shard, kernel_for(shard, torch.float32), CPU, torch.float32)
        outputs.append(layer(x[:, start:stop]))
    assert (sum(outputs) - expected).norm() / expected.norm() < 1e-5


def test_fused_layers_are_their_parts_side_by_side() -> None:
    parts = [random_weight(out_features=size, seed=size) for size in (12, 4, 5)]
    assert torch.equal(on_card(concatenate(parts)), torch.cat([on_card(part) for part in parts], dim=1))
