"""The key/value cache: one slot a sequence, slots of running sequences always the first ones.

Keeping them dense makes a decode batch a view `[:batch]` of the cache, so attention copies nothing; the price is one
copy of a sequence's keys and values when an earlier one leaves.
"""

import math
import mmap

import torch
from transformers import PreTrainedConfig


class KVCache:
    """keys, values: one tensor a layer, [slots, kv_heads, max_tokens, head_dim] in the compute dtype.

    Memory is reserved as address space and taken as tokens arrive. It starts as zeros: attention multiplies what it
    masks by 0, and 0 times the NaN of recycled memory is NaN.
    """

    def __init__(
        self, config: PreTrainedConfig, slots: int, max_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (slots, kv_head_count(config), max_tokens, head_dim(config))
        self.keys = [_zeros(shape, dtype, device) for _ in range(layer_count(config))]
        self.values = [_zeros(shape, dtype, device) for _ in range(layer_count(config))]
        self.layers_used: set[int] = set()
        """Layers whose attention has read the cache, by index."""

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of one slot to another."""
        for layer in (*self.keys, *self.values):
            layer[target, :, :tokens] = layer[source, :, :tokens]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """torch.zeros writes every page of a CPU tensor; fresh pages of the system are zero without that."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def bytes_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Return the cache memory that one token takes over all layers."""
    return 2 * layer_count(config) * kv_head_count(config) * head_dim(config) * dtype.itemsize


def layer_count(config: PreTrainedConfig) -> int:
    """Return the number of layers that attend."""
    return int(config.get_text_config().num_hidden_layers)


def kv_head_count(config: PreTrainedConfig) -> int:
    """Return the number of key/value heads of a layer."""
    text = config.get_text_config()
    if text.model_type == "falcon":
        return int(text.num_kv_heads) if text.new_decoder_architecture or not text.multi_query else 1
    return int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)


def head_dim(config: PreTrainedConfig) -> int:
    """Return the width of a head."""
    text = config.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
