"""Attention over the engine's cache: one step's keys and values are stored, and its queries attend.

One step is one row of tokens: first one token of every decoding sequence, in the order of their slots, then the chunks
of prompts that enter in this step. `attend_step` is what every model's attention comes down to.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import scaled_dot_product_attention

from tgi_autoround.engine.attention_masked import attend_masked
from tgi_autoround.engine.attention_options import AttentionOptions
from tgi_autoround.engine.kv_cache import KVCache

__all__ = ["AttentionOptions", "PromptChunk", "StepLayout", "attend_step", "decode", "prefill"]


@dataclass(frozen=True, slots=True)
class PromptChunk:
    """Prompt tokens `start..stop` of the sequence in `slot`, at `offset` of the step's row."""

    slot: int
    start: int
    stop: int
    offset: int


@dataclass(frozen=True, slots=True)
class StepLayout:
    """Which tokens of the row belong to whom.

    decode_positions: int64 [batch], the position of each decoding sequence's token
    decode_mask: bool [batch, 1, 1, longest], True where a position exists already
    attended: layers whose keys and values of this step are stored; attention that could come twice notes it here
    """

    cache: KVCache
    decode_positions: torch.Tensor
    decode_mask: torch.Tensor
    chunks: tuple[PromptChunk, ...]
    attended: set[int] = field(default_factory=set)


def attend_step(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    step: StepLayout,
    layer: int,
    options: AttentionOptions,
) -> torch.Tensor:
    """Store keys [kv_heads, tokens, head_dim] and values [kv_heads, tokens, value_width], and attend.

    query [heads, tokens, head_dim] -> [tokens, heads, value_width], all in the cache's dtype.
    """
    keys, values = step.cache.keys[layer], step.cache.values[layer]
    step.cache.layers_used.add(layer)
    output = query.new_empty(query.shape[1], query.shape[0], value.shape[2])
    batch = step.decode_positions.shape[0]
    if batch:
        rows = torch.arange(batch, device=query.device)
        keys[rows, :, step.decode_positions] = key[:, :batch].transpose(0, 1)
        values[rows, :, step.decode_positions] = value[:, :batch].transpose(0, 1)
        output[:batch] = decode(query[:, :batch], keys[:batch], values[:batch], step, options)
    for chunk in step.chunks:
        row = slice(chunk.offset, chunk.offset + chunk.stop - chunk.start)
        keys[chunk.slot, :, chunk.start : chunk.stop] = key[:, row]
        values[chunk.slot, :, chunk.start : chunk.stop] = value[:, row]
        seen = keys[chunk.slot, :, : chunk.stop], values[chunk.slot, :, : chunk.stop]
        output[row] = prefill(query[:, row], *seen, chunk.start, options)
    return output


def decode(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, step: StepLayout, options: AttentionOptions
) -> torch.Tensor:
    """One token a sequence: query [heads, batch, head_dim], keys [batch, kv_heads, max_tokens, head_dim].

    Returns [batch, heads, value_width]. Query heads that share a key/value head go in as rows of one query, so that
    nothing is repeated.
    """
    longest = step.decode_mask.shape[-1]
    heads, batch, width = query.shape
    keys, values = keys[:, :, :longest], values[:, :, :longest]
    if not options.is_plain(longest):
        attended = attend_masked(
            query.transpose(0, 1)[:, :, None], keys, values, step.decode_positions[:, None], options
        )
        return attended[:, :, 0]
    grouped = query.transpose(0, 1).reshape(batch, keys.shape[1], -1, width)
    attended = scaled_dot_product_attention(grouped, keys, values, attn_mask=step.decode_mask, scale=options.scaling)
    return attended.reshape(batch, heads, -1)


def prefill(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int, options: AttentionOptions
) -> torch.Tensor:
    """A chunk that begins at position `start`: query [heads, tokens, head_dim], keys [kv_heads, seen, head_dim].

    Returns [tokens, heads, value_width].
    """
    tokens, seen = query.shape[1], keys.shape[1]
    if not options.is_plain(seen):
        first = 0 if options.window is None else max(0, start - options.window + 1)
        positions = torch.arange(start, seen, device=query.device)[None]
        attended = attend_masked(query[None], keys[None, :, first:], values[None, :, first:], positions, options, first)
        return attended[0].transpose(0, 1)
    mask = None
    if start:
        mask = torch.ones(tokens, seen, dtype=torch.bool, device=query.device).tril(diagonal=start)
    attended = scaled_dot_product_attention(
        query[None],
        keys[None],
        values[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=options.scaling,
        enable_gqa=query.shape[0] != keys.shape[0],
    )
    return attended[0].transpose(0, 1)
