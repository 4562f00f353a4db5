"""Gaudi's fused kernels in plain torch: those that optimum-habana has no working replacement of."""

import torch
from torch.nn import functional


class RotaryPosEmbeddingHelperV2:
    @staticmethod
    def apply(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Rotate the halves of x [batch, heads, tokens, dim] by tables [1, 1, positions, dim]."""
        cos, sin = (table[0, 0][position_ids].unsqueeze(1) for table in (cos, sin))
        first, second = x.chunk(2, dim=-1)
        return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class FusedSDPA:
    @staticmethod
    def apply(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        dropout: float,
        is_causal: bool,
        scale: float | None,
        softmax_mode: str = "None",
    ) -> torch.Tensor:
        """Attend; query [batch, heads, tokens, dim], a head of key and value may serve several of query's."""
        queries_per_key = query.shape[1] // key.shape[1]
        key, value = (states.repeat_interleave(queries_per_key, dim=1) for states in (key, value))
        return functional.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal, scale=scale)
