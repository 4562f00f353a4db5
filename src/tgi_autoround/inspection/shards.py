"""How tensor parallelism would split a layer, by the names that projections have in transformers' families."""

from dataclasses import replace

from tgi_autoround.checkpoint import LayerSpec
from tgi_autoround.checkpoint.sharding import row_shard_spec
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.inspection.report import Shard

ROW_PROJECTIONS = frozenset(
    ("o_proj", "down_proj", "out_proj", "dense", "dense_4h_to_h", "fc2", "fc_out", "c_proj", "w2", "wo")
)
"""Projections whose inputs are split, because the layer before them has its outputs split."""


def shard_specs(spec: LayerSpec, tp: int) -> list[LayerSpec]:
    """Return the spec of each device's shard. Raises UnsupportedError where the layer cannot be split into `tp`."""
    is_row = _is_row(spec)
    size = spec.in_features if is_row else spec.out_features
    if size % tp:
        what = "in_features" if is_row else "out_features"
        raise UnsupportedError(
            f"layer {spec.name}: {spec}: its {what}, {size}, are not divisible by {tp} devices; "
            "choose another number of shards"
        )
    part = size // tp
    if is_row:
        return [row_shard_spec(spec, start, start + part) for start in range(0, size, part)]
    return [replace(spec, out_features=part)] * tp


def describe(whole: LayerSpec, shard: LayerSpec) -> Shard:
    """Return what a report says of a shard of `whole`."""
    return Shard(
        "row" if _is_row(whole) else "column",
        shard.in_features,
        shard.out_features,
        shard.group_size,
        cuts_groups=shard.group_size < whole.group_size,
    )


def _is_row(spec: LayerSpec) -> bool:
    return spec.name.rpartition(".")[2] in ROW_PROJECTIONS
