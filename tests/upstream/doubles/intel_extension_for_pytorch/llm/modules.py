"""The paged cache: [blocks, kv_heads, block_size, head_dim]."""

import torch

from intel_extension_for_pytorch.sdpa import attend


class PagedAttention:
    """Store to, and attend over, the paged cache."""

    @staticmethod
    def reshape_and_cache(
        key: torch.Tensor,
        value: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        slots: torch.Tensor,
        *_: object,
        **__: object,
    ) -> None:
        block_size = key_cache.shape[2]
        block, offset = slots // block_size, slots % block_size
        key_cache[block, :, offset] = key.to(key_cache.dtype)
        value_cache[block, :, offset] = value.to(value_cache.dtype)

    @staticmethod
    def single_query_cached_kv_attention(
        out: torch.Tensor,
        query: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        head_mapping: torch.Tensor,
        scale: float,
        block_tables: torch.Tensor,
        lengths: torch.Tensor,
        block_size: int,
        max_length: int,
        alibi: None,
        **_: object,
    ) -> None:
        for row, length in enumerate(lengths.tolist()):
            key, value = (_cached(cache, block_tables[row], length) for cache in (key_cache, value_cache))
            out[row : row + 1] = attend(query[row : row + 1], key, value, scale, None)


def _cached(cache: torch.Tensor, block_table: torch.Tensor, length: int) -> torch.Tensor:
    """Return the first `length` keys or values of a sequence: [length, kv_heads, head_dim]."""
    blocks = block_table[: -(-length // cache.shape[2])].long()
    return cache[blocks].transpose(1, 2).flatten(0, 1)[:length]


class GatedMLPMOE:
    """Imported by name; TGI makes one only for experts in floating point."""
