"""The forward pass of a common decoder on a GPU, over the packed linears and the fused kernels beside this file."""

from dataclasses import dataclass

import torch

from tgi_autoround.engine.attention import AttentionOptions, PromptChunk
from tgi_autoround.engine.cuda.ops.activation import gated
from tgi_autoround.engine.cuda.ops.decode_attention import attend_to_slots
from tgi_autoround.engine.cuda.ops.norm import add_rms_norm
from tgi_autoround.engine.cuda.ops.prefill_attention import attend_chunk
from tgi_autoround.engine.cuda.ops.rotary import RotaryTables, RowPlaces, rotate_and_store
from tgi_autoround.engine.decoder import DecoderWeights, LayerWeights
from tgi_autoround.engine.decoder.weights import Norm
from tgi_autoround.engine.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class Rows:
    """A step's tokens: one of each decoding sequence, in the order of their slots from 0, then the prompts' chunks.

    tokens: int32 [rows] on the device
    kept: int32 on the device, the rows whose logits are wanted; None is all
    """

    tokens: torch.Tensor
    places: RowPlaces
    decoding: int
    chunks: tuple[PromptChunk, ...] = ()
    kept: torch.Tensor | None = None


class CudaDecoder:
    """A decoder and the cache that it fills. Runs on the current stream and never waits for the device."""

    def __init__(self, weights: DecoderWeights, cache: KVCache) -> None:
        self._weights = weights
        self._cache = cache
        self._tables = _rotary_tables(weights, cache)

    def logits(self, rows: Rows) -> torch.Tensor:
        """Store the rows' keys and values; return logits in the compute dtype, [kept rows, vocabulary]."""
        weights = self._weights
        residual = weights.embedding.index_select(0, rows.tokens)
        if weights.embedding_scale != 1.0:
            residual *= weights.embedding_scale
        update = None
        for index, layer in enumerate(weights.layers):
            update = self._layer(index, layer, update, residual, rows)
        normed = add_rms_norm(update, residual, weights.final_norm)
        logits: torch.Tensor = weights.head(normed if rows.kept is None else normed.index_select(0, rows.kept))
        return logits if weights.logits_softcap is None else _capped(logits, weights.logits_softcap)

    def _layer(
        self, index: int, layer: LayerWeights, update: torch.Tensor | None, residual: torch.Tensor, rows: Rows
    ) -> torch.Tensor:
        """Add `update` and the attention's output to the residual in place; return what the MLP adds to it."""
        keys, values = self._cache.keys[index], self._cache.values[index]
        qkv = layer.qkv(add_rms_norm(update, residual, layer.before_attention))
        query = rotate_and_store(qkv, keys, values, rows.places, self._tables[index], layer.query_norm, layer.key_norm)
        attended = layer.o(self._attend(query, keys, values, layer.attention, rows).flatten(1))
        hidden = add_rms_norm(_normed(attended, layer.after_attention), residual, layer.before_mlp)
        return _normed(layer.down(gated(layer.gate_up(hidden), self._weights.activation)), layer.after_mlp)

    @staticmethod
    def _attend(
        query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, options: AttentionOptions, rows: Rows
    ) -> torch.Tensor:
        """query [rows, heads, head_dim] -> the same shape."""
        if not rows.chunks:
            return attend_to_slots(query, keys, values, rows.places.positions, options)
        attended = torch.empty_like(query)
        if rows.decoding:
            of_decoding = slice(rows.decoding)
            attended[of_decoding] = attend_to_slots(query[of_decoding], keys, values, rows.places.positions, options)
        for chunk in rows.chunks:
            part = slice(chunk.offset, chunk.offset + chunk.stop - chunk.start)
            seen = keys[chunk.slot, :, : chunk.stop], values[chunk.slot, :, : chunk.stop]
            attended[part] = attend_chunk(query[part], *seen, options)
        return attended


def _normed(output: torch.Tensor, norm: Norm | None) -> torch.Tensor:
    return output if norm is None else add_rms_norm(None, output, norm)


def _capped(logits: torch.Tensor, cap: float) -> torch.Tensor:
    return (logits.float() / cap).tanh_().mul_(cap)


def _rotary_tables(weights: DecoderWeights, cache: KVCache) -> list[RotaryTables]:
    """One a layer; layers of the same rotary embedding share them."""
    max_tokens = cache.keys[0].shape[2]
    of_rotary = {id(layer.rotary): RotaryTables(*layer.rotary.tables(max_tokens)) for layer in weights.layers}
    return [of_rotary[id(layer.rotary)] for layer in weights.layers]
