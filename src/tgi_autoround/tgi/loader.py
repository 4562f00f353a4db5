"""TGI's WeightsLoader for AutoRound checkpoints: each prefix as its tensors say, whole or this rank's shard of it.

    weights = Weights(filenames, device, dtype, process_group, weights_loader=AutoRoundWeightsLoader(checkpoint))
    weights.get_multi_weights_col(["model.layers.0.self_attn.q_proj", ...], dim=0).get_linear(bias=None)

Layers are read by the checkpoint and sharded in normal form, so a shard may cut groups, packed words and act-order.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from text_generation_server.utils.weights import DefaultWeightsLoader, UnquantizedWeight, Weights, WeightsLoader

from tgi_autoround.checkpoint import Checkpoint, NormalForm
from tgi_autoround.checkpoint.sharding import columns, concatenate, rows
from tgi_autoround.errors import UnsupportedError
from tgi_autoround.names import PROJECTION_OF
from tgi_autoround.tgi.weight import AutoRoundWeight, Part, plain_linear

QWEIGHT = ".qweight"


class AutoRoundWeightsLoader(WeightsLoader):  # type: ignore[misc]
    """Weights of a prefix: AutoRoundWeight where the file holds packed integers, else TGI's own unquantized weight.

    Raises CheckpointError where config and file disagree on a prefix, UnsupportedError where a layer cannot be cut
    into as many shards.
    """

    weight_block_size = None
    """Read by TGI's mixture-of-experts layers (layers/moe/unquantized.py:56, 3.3.7); only FP8 checkpoints have one."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._plain = DefaultWeightsLoader(UnquantizedWeight)

    def get_weights(self, weights: Weights, prefix: str) -> Any:
        """Return the layer, the same on every rank."""
        if not is_quantized(weights, prefix):
            self._check_plain(weights, prefix)
            return self._plain.get_weights(weights, prefix)
        return self._weight(weights, [self._whole(weights, prefix)])

    def get_weights_col_packed(self, weights: Weights, prefix: str, block_sizes: int | list[int]) -> Any:
        """Return this rank's outputs of each block of a layer that holds several (q/k/v, gate/up)."""
        if not is_quantized(weights, prefix):
            self._check_plain(weights, prefix)
            return self._plain.get_weights_col_packed(weights, prefix, block_sizes)
        layer = self._whole(weights, prefix)
        ends = list(accumulate(_block_sizes(layer, block_sizes), initial=0))
        blocks = [_columns_of_rank(weights, layer, start, stop) for start, stop in pairwise(ends)]
        return self._weight(weights, [_joined(blocks, layer)])

    def get_multi_weights_col(self, weights: Weights, prefixes: list[str], dim: int) -> Any:
        """Return this rank's outputs of each layer, one layer after the other; mixed widths are allowed."""
        if not any(is_quantized(weights, prefix) for prefix in prefixes):
            self._check_plain(weights, *prefixes)
            return self._plain.get_multi_weights_col(weights, prefixes, dim)
        return self._weight(weights, [self._columns(weights, prefix) for prefix in prefixes])

    def get_multi_weights(self, weights: Weights, prefixes: list[str], dim: int) -> Any:
        """Return the layers one after the other, the same on every rank. Only TGI's Gaudi tree asks for this."""
        if not any(is_quantized(weights, prefix) for prefix in prefixes):
            self._check_plain(weights, *prefixes)
            return self._plain.get_multi_weights(weights, prefixes, dim)
        return self._weight(weights, [self._whole_part(weights, prefix) for prefix in prefixes])

    def get_weights_row(self, weights: Weights, prefix: str) -> Any:
        """Return the part of the layer that reads this rank's inputs; the ranks' outputs add up to the layer's."""
        if not is_quantized(weights, prefix):
            self._check_plain(weights, prefix)
            return self._plain.get_weights_row(weights, prefix)
        layer = self._whole(weights, prefix)
        if weights.process_group.size() > 1:
            layer = rows(layer, *_range_of_rank(weights, layer, "input", 0, layer.spec.in_features))
        return self._weight(weights, [layer])

    def load_head(self, head_class: Any, weights: Weights, prefix: str) -> Any:
        """Return TGI's TensorParallelHead over a quantized lm_head, as its own `load` does for others.

        Where the vocabulary does not split over the ranks, every rank computes all of it.
        """
        vocabulary = self._checkpoint.quantized_layers[_stored_name(weights, prefix, QWEIGHT)].out_features
        ranks = weights.process_group.size()
        split = ranks > 1 and vocabulary % ranks == 0
        weight = self.get_weights_col(weights, prefix) if split else self.get_weights(weights, prefix)
        return head_class(weight.get_linear(bias=None), process_group=weights.process_group, should_gather=split)

    def _whole(self, weights: Weights, prefix: str) -> NormalForm:
        return self._checkpoint.load_layer(_stored_name(weights, prefix, QWEIGHT), weights.device)

    def _whole_part(self, weights: Weights, prefix: str) -> Part:
        if is_quantized(weights, prefix):
            return self._whole(weights, prefix)
        self._check_plain(weights, prefix)
        return plain_linear(weights.get_tensor(f"{prefix}.weight"))

    def _columns(self, weights: Weights, prefix: str) -> Part:
        if is_quantized(weights, prefix):
            layer = self._whole(weights, prefix)
            return _columns_of_rank(weights, layer, 0, layer.spec.out_features)
        self._check_plain(weights, prefix)
        return plain_linear(weights.get_sharded(f"{prefix}.weight", dim=0))

    def _check_plain(self, weights: Weights, *prefixes: str) -> None:
        for prefix in prefixes:
            self._checkpoint.check_unquantized(_stored_name(weights, prefix, ".weight"))

    def _weight(self, weights: Weights, parts: list[Part]) -> AutoRoundWeight:
        return AutoRoundWeight(parts, weights.device, weights.dtype)


def is_quantized(weights: Weights, prefix: str) -> bool:
    """Return whether the files hold packed integers for a prefix."""
    return bool(weights.has_tensor(f"{_renamed(weights, prefix)}{QWEIGHT}"))


def _stored_name(weights: Weights, prefix: str, suffix: str) -> str:
    """Return a prefix as the files name it: TGI asks by aliases, and without the prefix of multimodal models."""
    _, tensor = weights.get_filename(f"{_renamed(weights, prefix)}{suffix}")
    return str(tensor).removesuffix(suffix)


def _renamed(weights: Weights, prefix: str) -> str:
    """auto-round 0.16.1 writes Mixtral's experts with the names that other models give their projections."""
    expert, _, projection = prefix.rpartition(".")
    renamed = f"{expert}.{PROJECTION_OF.get(projection, projection)}"
    return renamed if weights.has_tensor(f"{renamed}{QWEIGHT}") else prefix


def _block_sizes(layer: NormalForm, blocks: int | list[int]) -> list[int]:
    """Return the sizes of equally many outputs (a count of blocks) or of blocks in proportion (a list)."""
    proportions = blocks if isinstance(blocks, list) else [1] * blocks
    unit, rest = divmod(layer.spec.out_features, sum(proportions))
    if rest:
        raise UnsupportedError(
            f"layer {layer.spec.name}: {layer.spec}: its outputs do not divide in proportions of {proportions}; "
            "config.json and the files are not from the same model"
        )
    return [unit * proportion for proportion in proportions]


def _columns_of_rank(weights: Weights, layer: NormalForm, start: int, stop: int) -> NormalForm:
    if weights.process_group.size() == 1:
        return columns(layer, start, stop)
    return columns(layer, *_range_of_rank(weights, layer, "output", start, stop))


def _range_of_rank(weights: Weights, layer: NormalForm, side: str, start: int, stop: int) -> tuple[int, int]:
    ranks = weights.process_group.size()
    size, rest = divmod(stop - start, ranks)
    if rest:
        raise UnsupportedError(
            f"layer {layer.spec.name}: {layer.spec}: {stop - start} {side} features do not split over {ranks} shards; "
            "choose another --num-shard"
        )
    first = start + weights.process_group.rank() * size
    return first, first + size


def _joined(blocks: Sequence[NormalForm], layer: NormalForm) -> NormalForm:
    joined = concatenate(blocks)
    return replace(joined, spec=replace(joined.spec, name=layer.spec.name))
