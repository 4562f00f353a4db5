"""Attention with windows, ALiBi, soft-capping or sinks: correct for each of them, fast for none in particular."""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention

from tgi_autoround.engine.attention_options import AttentionOptions

SCORES_AT_ONCE = 2**25
"""Products of query heads and keys, in float32, of which there are a few copies."""


def attend_masked(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
    options: AttentionOptions,
    first: int = 0,
) -> torch.Tensor:
    """query [batch, heads, tokens, head_dim] at `positions` int64 [batch, tokens].

    keys [batch, kv_heads, seen, head_dim], values [batch, kv_heads, seen, value_width] of positions from `first` on
    -> [batch, heads, tokens, value_width]
    """
    if not _is_fused(options):
        query, keys = query.float(), keys.float()  # or their products would be rounded to the type of the cache
    in_a_block = max(1, SCORES_AT_ONCE // (query.shape[0] * query.shape[1] * keys.shape[2]))
    blocks = zip(torch.split(query, in_a_block, dim=2), torch.split(positions, in_a_block, dim=1), strict=True)
    return torch.cat([_attend(rows, keys, values, at, options, first) for rows, at in blocks], dim=2)


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
    options: AttentionOptions,
    first: int,
) -> torch.Tensor:
    distance = positions[:, None, :, None] - torch.arange(first, first + keys.shape[2], device=query.device)
    visible = distance >= 0
    if options.window is not None:
        visible &= distance < options.window
    bias = None
    if options.key_bias is not None:
        bias = _relative(options.key_bias, positions, slice(first, first + keys.shape[2]))
    if _is_fused(options):
        mask = visible if bias is None else bias.masked_fill(~visible, -math.inf).to(query.dtype)
        return _fused(query, keys, values, mask, options.scaling)
    return _step_by_step(query, keys, values, visible, bias, options)


def _is_fused(options: AttentionOptions) -> bool:
    return options.softcap is None and options.sinks is None


def _relative(key_bias: torch.Tensor, positions: torch.Tensor, seen: slice) -> torch.Tensor:
    """Return the bias [batch, heads, tokens, seen], less that of each query's own position.

    A softmax does not see what is added to a whole row, and so the near keys keep their precision at any position.
    """
    own = key_bias[:, positions].transpose(0, 1)
    return key_bias[:, None, seen] - own[..., None]


def _fused(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Query heads that share a key/value head go in as rows of one query where each has one token."""
    batch, heads, tokens, width = query.shape
    if tokens > 1:
        return scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=heads != keys.shape[1]
        )
    grouped = query.reshape(batch, keys.shape[1], -1, width)
    rows = mask if mask.shape[1] == 1 else mask.reshape(*grouped.shape[:3], -1)
    attended = scaled_dot_product_attention(grouped, keys, values, attn_mask=rows, scale=scaling)
    return attended.reshape(batch, heads, 1, -1)


def _step_by_step(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: torch.Tensor,
    bias: torch.Tensor | None,
    options: AttentionOptions,
) -> torch.Tensor:
    """Query and keys in float32, values in any type, which is the result's."""
    batch, heads, tokens, width = query.shape
    kv_heads, seen = keys.shape[1:3]
    grouped = query.reshape(batch, kv_heads, -1, width)
    scores = (grouped @ keys.transpose(-1, -2)).reshape(batch, heads, tokens, seen)
    scores = scores * (width**-0.5 if options.scaling is None else options.scaling)
    if options.softcap is not None:
        scores = options.softcap * torch.tanh(scores / options.softcap)
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~visible, -math.inf)
    if options.sinks is not None:
        sinks = options.sinks.float()[:, None, None].expand(batch, heads, tokens, 1)
        scores = torch.cat((scores, sinks), dim=-1)
    weights = scores.softmax(dim=-1)[..., :seen].to(values.dtype)
    return (weights.reshape(batch, kv_heads, -1, seen) @ values).reshape(batch, heads, tokens, -1)
