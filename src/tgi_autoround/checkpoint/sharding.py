"""Parts of a weight, for tensor parallelism and fused layers: exact, and in normal form again.

Every function returns what dequantizes to the same slice, bit for bit, of what the whole weight dequantizes to.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from tgi_autoround.checkpoint.normal_form import NormalForm
from tgi_autoround.checkpoint.spec import LayerSpec
from tgi_autoround.errors import UnsupportedError

_WEIGHTS_IN_PART = 2**21


def columns(weight: NormalForm, start: int, stop: int) -> NormalForm:
    """Return the shard that computes output features `start` to `stop`, without `stop`."""
    _check_range(start, stop, weight.spec.out_features)
    return replace(
        weight,
        spec=replace(weight.spec, out_features=stop - start),
        codes=weight.codes[:, start:stop].contiguous(),
        zero_points=weight.zero_points[:, start:stop].contiguous(),
        scales=weight.scales[:, start:stop].contiguous(),
        bias=weight.bias[start:stop].contiguous() if weight.bias is not None else None,
    )


def in_column_parts(weight: NormalForm) -> Iterator[tuple[slice, NormalForm]]:
    """Yield the weight in parts of its output features, so small that float32 copies of one stay small beside it."""
    step = max(1, _WEIGHTS_IN_PART // weight.spec.in_features)
    for start in range(0, weight.spec.out_features, step):
        part = slice(start, min(start + step, weight.spec.out_features))
        yield part, columns(weight, part.start, part.stop)


def rows(weight: NormalForm, start: int, stop: int) -> NormalForm:
    """Return the shard that multiplies input features `start` to `stop`, without `stop`, of the layer's own order.

    The outputs of the shards add up to the layer's, so the bias goes with the shard that begins at 0. Where the
    shard cuts a group, its groups become equal sub-groups with repeated scales and zero points.
    Raises UnsupportedError where act-order or an odd cut leaves sub-groups of one feature each.
    """
    _check_range(start, stop, weight.spec.in_features)
    if weight.input_order is None:
        kept, input_order = torch.arange(start, stop, device=weight.codes.device), None
        runs = group_runs(weight.spec, start, stop)
    else:
        kept = ((weight.input_order >= start) & (weight.input_order < stop)).nonzero().flatten()
        input_order = weight.input_order[kept] - start
        group_ids, counts = torch.unique_consecutive(kept // weight.spec.group_size, return_counts=True)
        runs = dict(zip(group_ids.tolist(), counts.tolist(), strict=True))
    spec = _row_spec(weight.spec, runs, stop - start, has_bias=weight.spec.has_bias and start == 0)
    group_of = torch.tensor(
        [group for group, count in runs.items() for _ in range(0, count, spec.group_size)], device=weight.codes.device
    )
    return NormalForm(
        spec,
        codes=weight.codes[kept],
        zero_points=weight.zero_points[group_of],
        scales=weight.scales[group_of],
        bias=weight.bias if spec.has_bias else None,
        input_order=input_order,
    )


def row_shard_spec(spec: LayerSpec, start: int, stop: int) -> LayerSpec:
    """Return the spec that `rows` gives a weight without act-order. Raises UnsupportedError as it does."""
    _check_range(start, stop, spec.in_features)
    return _row_spec(spec, group_runs(spec, start, stop), stop - start, has_bias=spec.has_bias and start == 0)


def group_runs(spec: LayerSpec, start: int, stop: int) -> dict[int, int]:
    """Return how many of the input features `start` to `stop` lie in each group, without act-order."""
    size = spec.group_size
    return {
        group: min(stop, (group + 1) * size) - max(start, group * size)
        for group in range(start // size, -(-stop // size))
    }


def can_concatenate(first: NormalForm, second: NormalForm) -> bool:
    """Return whether both multiply the same inputs in groups of the same kind."""
    return _kind(first.spec) == _kind(second.spec) and _same_order(first.input_order, second.input_order)


def concatenate(weights: Sequence[NormalForm]) -> NormalForm:
    """Return the weight that computes the outputs of all `weights`, one after the other.

    Where some have a bias, those without get one of zeros. Raises ValueError where `can_concatenate` says no.
    """
    first = weights[0]
    if len(weights) == 1:
        return first
    for other in weights[1:]:
        if not can_concatenate(first, other):
            raise ValueError(
                f"{first.spec.name} ({first.spec}) and {other.spec.name} ({other.spec}) do not concatenate"
            )
    spec = replace(
        first.spec,
        name="+".join(weight.spec.name for weight in weights),
        out_features=sum(weight.spec.out_features for weight in weights),
        has_bias=any(weight.spec.has_bias for weight in weights),
    )
    return NormalForm(
        spec,
        codes=torch.cat([weight.codes for weight in weights], dim=1),
        zero_points=torch.cat([weight.zero_points for weight in weights], dim=1),
        scales=torch.cat([weight.scales for weight in weights], dim=1),
        bias=torch.cat([_bias_or_zeros(weight) for weight in weights]) if spec.has_bias else None,
        input_order=first.input_order,
    )


def _row_spec(spec: LayerSpec, runs: dict[int, int], in_features: int, *, has_bias: bool) -> LayerSpec:
    size = _sub_group_size(spec, runs)
    if size == 1 and spec.group_size > 1:
        raise UnsupportedError(
            f"layer {spec.name}: {spec}: {in_features} of its input features share no groups that can be cut into "
            "equal parts (act-order scatters them, or the cut is odd), so each weight would need a scale of its own; "
            "use fewer shards, or quantize again without desc_act"
        )
    scheme = replace(spec.scheme, group_size=size)
    return replace(spec, scheme=scheme, in_features=in_features, has_bias=has_bias)


def _sub_group_size(spec: LayerSpec, runs: dict[int, int]) -> int:
    """The largest size that fills every run; a file's own short last group may stay short."""
    counts = list(runs.values())
    last = spec.num_groups - 1
    short = spec.in_features - last * spec.group_size
    ends_short = len(counts) > 1 and runs.get(last) == short and set(counts[:-1]) == {spec.group_size}
    return spec.group_size if ends_short else math.gcd(*counts)


def _check_range(start: int, stop: int, size: int) -> None:
    if not 0 <= start < stop <= size:
        raise ValueError(f"a shard from {start} to {stop} does not lie within {size} features")


def _kind(spec: LayerSpec) -> tuple[object, ...]:
    return spec.scheme.bits, spec.group_size, spec.scheme.sym, spec.scheme.packing, spec.in_features


def _same_order(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _bias_or_zeros(weight: NormalForm) -> torch.Tensor:
    if weight.bias is not None:
        return weight.bias
    return torch.zeros(weight.spec.out_features, dtype=weight.scales.dtype, device=weight.scales.device)
