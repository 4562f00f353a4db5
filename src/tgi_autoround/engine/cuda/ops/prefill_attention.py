"""Attention of a prompt's chunk over its slot of the cache, by torch's flash attention."""

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention


def attend_chunk(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
    """Return what the last `tokens` of a sequence attend to: [tokens, heads, head_dim].

    query: [tokens, heads, head_dim]; keys, values: [kv_heads, seen, head_dim], the chunk's own included
    """
    attended = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys[None],
        values[None],
        attn_mask=causal_lower_right(query.shape[0], keys.shape[1]),
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[0],
    )
    return attended[0].transpose(0, 1)
