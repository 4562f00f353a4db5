"""Re-read the result and hold every layer against the float layer it came from.

A group's codes are `q = clamp(round(w / s + v) + z, 0, 2^b - 1)`, where AutoRound tunes the offset `v` of every weight
and the extent that the step `s` covers; everything else is rounding. Sign-SGD moves either by at most the sum of its
learning rates, which fall linearly to zero: `travel = lr * (iters + 1) / 2` (0.5 for the default lr of 1/iters). Hence,
with `x = w / s + z` and the clamp not enlarging distances,

    |q - clamp(x, 0, 2^b - 1)| <= 0.5 + travel(lr)                     for every weight, and
    1 - travel(minmax_lr) <= covered / needed <= 1                     for every group,

where a group needs `max - min` (asym, both with 0) or its largest magnitude (sym), and covers `s * (2^b - 1)` or
`|s| * 2^(b-1)`. The first bound alone would let a step pass that is far too small, the second one a wrong order of
codes; together they hold the decoded weight to the float weight. Round-to-nearest is the case without travel. Both get
slack for the arithmetic, which may have been bfloat16's throughout.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tgi_autoround.checkpoint import Checkpoint, NormalForm
from tgi_autoround.errors import QuantizeError
from tgi_autoround.quantize.config import TuningConfig
from tgi_autoround.quantize.plan import Plan
from tgi_autoround.quantize.source import SourceModel

if TYPE_CHECKING:
    import torch

# Roundings of 2^-8 each: a code sees its weight's and the quotient's, a group's step its extremes', their difference's
# and the quotient's.
CODE_SLACK = 2 * 2.0**-8
COVERAGE_SLACK = 4 * 2.0**-8
# auto-round keeps a step from vanishing: data_type/int.py, q_scale_thresh (0.16.1), rounded up in float16.
SMALLEST_STEP = 1.1e-5
# From this many iterations auto-round doubles its default learning rate for 2 and 3 bits:
# algorithms/quantization/sign_round/config.py, _lr_for_bits (0.16.1).
LONG_TUNING_ITERS = 1000


@dataclass(frozen=True)
class Bound:
    """What tuning may have done: steps between code and weight, and the share of a group's extent covered."""

    code_steps: float
    least_coverage: float


@dataclass(frozen=True)
class LayerCheck:
    """What was found: the largest distance of a code, in steps, and the extremes of covered / needed."""

    code_steps: float
    least_coverage: float
    most_coverage: float


def verify(
    result: Checkpoint, source: SourceModel, plan: Plan, tuning: TuningConfig
) -> Iterator[tuple[str, LayerCheck]]:
    """Yield each quantized layer as it is found sound.

    Raises QuantizeError for a layer that is missing, surplus, of another scheme than planned, or out of its bound, and
    for any other tensor that is not bit for bit the source's.
    """
    _check_layer_set(result, source, plan)
    _check_plain_tensors(result, source.checkpoint)
    for name in result.quantized_layers:
        weight = source.checkpoint.read_tensor(f"{name}.weight")
        yield (
            name,
            check_layer(result.load_layer(name), weight, bound_of(tuning, result.quantized_layers[name].scheme.bits)),
        )


def bound_of(tuning: TuningConfig, bits: int) -> Bound:
    """Return the bound derived above for a layer of that width."""
    slack = CODE_SLACK * 2**bits
    if tuning.iters == 0:
        return Bound(0.5 + slack, 1.0)
    doubled = 2 if tuning.iters >= LONG_TUNING_ITERS and bits <= 3 else 1
    lr = tuning.lr or doubled / tuning.iters
    minmax_lr = (tuning.minmax_lr or lr) if tuning.enable_minmax_tuning else 0.0
    return Bound(0.5 + _travel(lr, tuning.iters) + slack, max(0.0, 1.0 - _travel(minmax_lr, tuning.iters)))


def check_layer(form: NormalForm, weight: "torch.Tensor", bound: Bound) -> LayerCheck:
    """Compare a layer with its float weight [out_features, in_features]. Raises QuantizeError out of bounds."""
    spec = form.spec
    if tuple(weight.shape) != (spec.out_features, spec.in_features):
        raise QuantizeError(f"layer {spec.name}: {spec}, but the float weight has shape {tuple(weight.shape)}")
    found = LayerCheck(_code_distance(form, weight), *_coverage(form, weight))
    if not found.code_steps <= bound.code_steps:
        raise QuantizeError(
            f"layer {spec.name}: {spec}: a code is {found.code_steps:.2f} steps from its weight, at most "
            f"{bound.code_steps:.2f} are possible; the result is wrong and was not published"
        )
    if not bound.least_coverage - COVERAGE_SLACK <= found.least_coverage <= found.most_coverage <= 1 + COVERAGE_SLACK:
        raise QuantizeError(
            f"layer {spec.name}: {spec}: groups cover {found.least_coverage:.3f} to {found.most_coverage:.3f} of "
            f"their weights' extent, but {bound.least_coverage:.3f} to 1 are possible; the result is wrong and was "
            "not published"
        )
    return found


def _travel(lr: float, iters: int) -> float:
    return lr * (iters + 1) / 2


def _code_distance(form: NormalForm, weight: "torch.Tensor") -> float:
    import torch

    group_of = torch.arange(form.spec.in_features) // form.spec.group_size
    exact = weight.t().float() / form.scales.float()[group_of] + form.zero_points.float()[group_of]
    nearest = exact.clamp(0, 2**form.spec.scheme.bits - 1)
    return float((form.codes.float() - nearest).abs().max())


def _coverage(form: NormalForm, weight: "torch.Tensor") -> tuple[float, float]:
    import torch

    spec, bits = form.spec, form.spec.scheme.bits
    padding = spec.num_groups * spec.group_size - spec.in_features
    padded = torch.nn.functional.pad(weight.float(), (0, padding))
    groups = padded.view(spec.out_features, spec.num_groups, spec.group_size)
    low, high = groups.amin(-1).clamp(max=0).t(), groups.amax(-1).clamp(min=0).t()
    if spec.scheme.sym:
        needed, levels = torch.maximum(high, -low), 2 ** (bits - 1)
    else:
        needed, levels = high - low, 2**bits - 1
    coverage = form.scales.float().abs() * levels / needed.clamp(min=SMALLEST_STEP * levels)
    # A group so small that its step is the smallest one covers more than it needs, rightly.
    measurable = needed > SMALLEST_STEP * levels
    if not measurable.any():
        return 1.0, 1.0
    return float(coverage[measurable].min()), float(coverage[measurable].max())


def _check_layer_set(result: Checkpoint, source: SourceModel, plan: Plan) -> None:
    planned, found = plan.quantized_layers, result.quantized_layers
    missing = sorted(set(planned) - set(found))
    if missing:
        raise QuantizeError(f"layer {missing[0]} was to be quantized, but is not ({len(missing)} layers in all)")
    known = {*source.block_linears, *source.head}
    # Experts of a mixture are no linear layers of the model that transformers builds; they follow the default.
    planned |= {
        name: plan.default for name in found if name not in known and f"{name}.weight" in source.checkpoint.file_of
    }
    surplus = sorted(set(found) - set(planned))
    if surplus:
        raise QuantizeError(f"layer {surplus[0]} is quantized, but was not to be ({len(surplus)} layers in all)")
    for name, spec in found.items():
        wanted, got = planned[name], spec.scheme
        if (got.bits, got.group_size, got.sym) != (wanted.bits, wanted.group_size, wanted.sym):
            raise QuantizeError(f"layer {name}: {spec} was written, but the plan was {wanted}")


def _check_plain_tensors(result: Checkpoint, source: Checkpoint) -> None:
    import torch

    quantized = {f"{name}.weight" for name in result.quantized_layers}
    for name in source.file_of:
        if name not in quantized and not torch.equal(result.read_tensor(name), source.read_tensor(name)):
            raise QuantizeError(f"tensor {name} differs from the source's; the result is wrong and was not published")
