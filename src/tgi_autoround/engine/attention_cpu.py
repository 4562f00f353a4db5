"""`attend_step` on the CPU, for layers that attend to everything before: what a step's layers share is computed once.

A mask of booleans would become one of numbers in every layer, and sequences of one length need none at all.
"""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention

from tgi_autoround.engine.attention import PromptChunk, StepLayout, attend_step
from tgi_autoround.engine.attention_options import AttentionOptions


class CpuAttention:
    """The attention of one step's layers."""

    def __init__(self, step: StepLayout) -> None:
        self._step = step
        self._batch = step.decode_positions.shape[0]
        positions = step.decode_positions.tolist()
        self._longest = max(positions, default=-1) + 1
        self._seen = max(self._longest, *(chunk.stop for chunk in step.chunks), 0)
        self._dtype = step.cache.keys[0].dtype
        self._mask = None
        if min(positions, default=0) + 1 < self._longest:
            self._mask = _as_numbers(step.decode_mask, self._dtype)
        kv_heads, max_tokens = step.cache.keys[0].shape[1:3]
        heads = torch.arange(self._batch * kv_heads).view(self._batch, kv_heads)
        self._rows = (heads * max_tokens + step.decode_positions[:, None]).flatten()
        self._chunks = [(chunk, _chunk_mask(chunk, self._dtype)) for chunk in step.chunks]

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layer: int,
        options: AttentionOptions,
        out: torch.Tensor,
    ) -> None:
        """Store keys and values, [kv_heads, tokens, head_dim] in the cache's dtype, attend, and write to `out`.

        query: [heads, tokens, head_dim] in the cache's dtype; out: [tokens, heads, head_dim] in any.
        """
        if not options.is_plain(self._seen):
            out.copy_(attend_step(query, key, value, self._step, layer, options))
            return
        cache = self._step.cache
        cache.layers_used.add(layer)
        if self._batch:
            own = slice(0, self._batch)
            self._decode(query[:, own], key[:, own], value[:, own], layer, options, out[own])
        for chunk, mask in self._chunks:
            own = slice(chunk.offset, chunk.offset + chunk.stop - chunk.start)
            keys, values = cache.keys[layer][chunk.slot], cache.values[layer][chunk.slot]
            keys[:, chunk.start : chunk.stop] = key[:, own]
            values[:, chunk.start : chunk.stop] = value[:, own]
            attended = scaled_dot_product_attention(
                query[None, :, own],
                keys[None, :, : chunk.stop],
                values[None, :, : chunk.stop],
                attn_mask=mask,
                is_causal=mask is None,
                scale=options.scaling,
                enable_gqa=query.shape[0] != key.shape[0],
            )
            out[own].copy_(attended[0].transpose(0, 1))

    def _decode(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layer: int,
        options: AttentionOptions,
        out: torch.Tensor,
    ) -> None:
        """Query heads that share a key/value head go in as rows of one query, so that nothing is repeated."""
        batch, _heads, width = out.shape
        keys, values = self._step.cache.keys[layer], self._step.cache.values[layer]
        keys.view(-1, width).index_copy_(0, self._rows, key.transpose(0, 1).reshape(-1, width))
        values.view(-1, width).index_copy_(0, self._rows, value.transpose(0, 1).reshape(-1, width))
        grouped = (batch, keys.shape[1], -1, width)
        attended = scaled_dot_product_attention(
            query.transpose(0, 1).view(grouped),
            keys[:batch, :, : self._longest],
            values[:batch, :, : self._longest],
            attn_mask=self._mask,
            scale=options.scaling,
        )
        out.view(grouped).copy_(attended)


def _chunk_mask(chunk: PromptChunk, dtype: torch.dtype) -> torch.Tensor | None:
    """A prompt's first chunk needs none: it is causal from the first position on."""
    if not chunk.start:
        return None
    seen = torch.ones(chunk.stop - chunk.start, chunk.stop, dtype=torch.bool)
    return _as_numbers(seen.tril(diagonal=chunk.start), dtype)


def _as_numbers(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
