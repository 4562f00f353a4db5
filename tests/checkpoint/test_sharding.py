from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.random_weights import random_weight, ranges, weights
from tgi_autoround.checkpoint import NormalForm
from tgi_autoround.checkpoint.sharding import columns, concatenate, row_shard_spec, rows
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.kernels import KERNELS, ReferenceKernel
from tgi_autoround.linear import QLinear

CPU = torch.device("cpu")
BOUND = {True: 1e-5, False: 3e-2}


def assert_sound(weight: NormalForm) -> None:
    spec = weight.spec
    assert weight.codes.shape == (spec.in_features, spec.out_features)
    assert weight.scales.shape == weight.zero_points.shape == (spec.num_groups, spec.out_features)
    assert (weight.bias is not None) == spec.has_bias


@given(st.data(), st.booleans())
def test_a_column_shard_dequantizes_to_the_rows_of_the_linear(data: st.DataObject, act_order: bool) -> None:
    weight = data.draw(weights(act_order=act_order))
    start, stop = data.draw(ranges(weight.spec.out_features))
    shard = columns(weight, start, stop)
    assert_sound(shard)
    assert torch.equal(shard.dequantize(), weight.dequantize()[start:stop])
    if weight.bias is not None:
        assert torch.equal(shard.bias, weight.bias[start:stop])


@given(st.data())
def test_a_row_shard_dequantizes_to_the_columns_of_the_linear(data: st.DataObject) -> None:
    weight = data.draw(weights())
    start, stop = data.draw(ranges(weight.spec.in_features, step=2))
    shard = rows(weight, start, stop)
    assert_sound(shard)
    assert shard.spec == row_shard_spec(weight.spec, start, stop)
    assert torch.equal(shard.dequantize(), weight.dequantize()[:, start:stop])


@given(st.data(), st.sampled_from([2, 4]))
def test_every_kernel_adds_row_shards_up_to_the_whole_layer(data: st.DataObject, parts: int) -> None:
    weight = data.draw(weights())
    size = weight.spec.in_features
    cuts = [size * part // parts // 2 * 2 for part in range(parts)] + [size]
    shards = [rows(weight, start, stop) for start, stop in pairwise(cuts) if stop > start]
    x = torch.randn(3, size, generator=torch.Generator().manual_seed(1))
    expected = x.double() @ weight.dequantize().double().t()
    if weight.bias is not None:
        expected += weight.bias.double()
    for kernel in (*KERNELS, ReferenceKernel()):
        if any(kernel.supports(shard.spec, CPU, torch.float32) for shard in shards):
            continue
        inputs = x.split([shard.spec.in_features for shard in shards], dim=1)
        layers = [QLinear(shard, kernel, CPU, torch.float32) for shard in shards]
        total = sum(layer(part) for layer, part in zip(layers, inputs, strict=True))
        usual_norm = x.norm() * weight.dequantize().norm() / size**0.5  # a single output may be near 0 by chance
        assert (total - expected).norm() < BOUND[kernel.exact] * max(expected.norm(), usual_norm)


@pytest.mark.parametrize(
    ("group_size", "start", "stop", "shard_group_size"),
    [
        (128, 256, 352, 96),  # nothing but the short last group
        (128, 128, 352, 128),  # uncut groups, the last as short as in the file
        (128, 0, 176, 16),  # a cut at the end
        (128, 176, 352, 16),  # a cut at the beginning
        (128, 0, 128, 128),
        (-1, 0, 176, 176),
        (-1, 88, 176, 88),
    ],
)
def test_a_cut_group_becomes_the_largest_equal_sub_groups(
    group_size: int, start: int, stop: int, shard_group_size: int
) -> None:
    weight = random_weight(in_features=352, group_size=group_size)
    assert rows(weight, start, stop).spec.group_size == shard_group_size


def test_the_bias_goes_with_the_first_row_shard_alone() -> None:
    weight = random_weight(bias=True)
    assert torch.equal(rows(weight, 0, 32).bias, weight.bias)
    assert rows(weight, 32, 64).bias is None


def test_act_order_that_keeps_blocks_of_inputs_together_is_sharded() -> None:
    weight = random_weight(in_features=64, group_size=16)
    order = torch.arange(64).reshape(8, 8)[torch.tensor([3, 6, 0, 5, 1, 4, 7, 2])].flatten()
    ordered = NormalForm(weight.spec, weight.codes, weight.zero_points, weight.scales, input_order=order)
    for start, stop in ((0, 32), (32, 64), (8, 24)):
        shard = rows(ordered, start, stop)
        assert_sound(shard)
        assert shard.spec.group_size in (8, 16)
        assert torch.equal(shard.dequantize(), ordered.dequantize()[:, start:stop])


def test_act_order_that_scatters_groups_is_not_blown_up_to_a_scale_for_each_weight() -> None:
    weight = random_weight(in_features=64, group_size=16, act_order=True)
    assert torch.equal(rows(weight, 0, 64).dequantize(), weight.dequantize())
    with pytest.raises(UnsupportedError, match=r"layer: W4 asym g16 .* without desc_act"):
        rows(weight, 0, 32)


@given(weights(), st.integers(1, 16), st.booleans())
def test_concatenated_weights_dequantize_to_both(first: NormalForm, out_features: int, bias: bool) -> None:
    scheme = first.spec.scheme
    second = random_weight(
        bits=scheme.bits,
        group_size=scheme.group_size,
        sym=scheme.sym,
        in_features=first.spec.in_features,
        out_features=out_features,
        bias=bias,
        seed=1,
    )
    both = concatenate([first, second])
    assert_sound(both)
    assert torch.equal(both.dequantize(), torch.cat([first.dequantize(), second.dequantize()]))
    if both.bias is not None:
        parts = [torch.zeros(w.spec.out_features).half() if w.bias is None else w.bias for w in (first, second)]
        assert torch.equal(both.bias, torch.cat(parts))


def test_weights_of_different_widths_do_not_concatenate() -> None:
    with pytest.raises(ValueError, match="do not concatenate"):
        concatenate([random_weight(bits=4), random_weight(bits=8)])


@pytest.mark.parametrize(("start", "stop"), [(-1, 4), (4, 4), (8, 4), (0, 17)])
def test_a_shard_outside_of_the_layer_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="does not lie within 16 features"):
        columns(random_weight(out_features=16), start, stop)
