"""Scaled dot-product attention with grouped heads."""

import torch


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None
) -> torch.Tensor:
    """query: [queries, heads, head_dim]; key, value: [keys, kv_heads, head_dim]; mask: bool [queries, keys]."""
    groups = query.shape[1] // key.shape[1]
    key, value = (states.float().repeat_interleave(groups, dim=1) for states in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query.float(), key) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).to(query.dtype)
