"""Attention of a prompt's chunk over its slot of the cache, by torch's flash attention where that can do it."""

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from tgi_autoround.engine.attention import prefill
from tgi_autoround.engine.attention_options import AttentionOptions


def attend_chunk(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, options: AttentionOptions
) -> torch.Tensor:
    """Return what the last `tokens` of a sequence attend to: [tokens, heads, head_dim].

    query: [tokens, heads, head_dim]; keys, values: [kv_heads, seen, head_dim], the chunk's own included
    """
    tokens, seen = query.shape[0], keys.shape[1]
    if not options.is_plain(seen):
        return prefill(query.transpose(0, 1), keys, values, seen - tokens, options)
    attended = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys[None],
        values[None],
        attn_mask=causal_lower_right(tokens, seen),
        scale=options.scaling,
        enable_gqa=query.shape[1] != keys.shape[0],
    )
    return attended[0].transpose(0, 1)
