"""The key/value cache: one slot a sequence, slots of running sequences always the first ones.

Keeping them dense makes a decode batch a view `[:batch]` of the cache, so attention copies nothing; the price is one
copy of a sequence's keys and values when an earlier one leaves.
"""

import torch
from transformers import PreTrainedConfig

from tgi_autoround.engine.cache_shape import cache_shape
from tgi_autoround.engine.memory_pages import Pages


class KVCache:
    """keys, values: one tensor a layer, [slots, kv_heads, max_tokens, width] in the compute dtype.

    On a CPU slots are address space, and memory is taken as tokens arrive; elsewhere it is taken at once. It starts
    as zeros: attention multiplies what it masks by 0, and 0 times the NaN of recycled memory is NaN.
    """

    def __init__(
        self, config: PreTrainedConfig, slots: int, max_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        held = cache_shape(config)
        widths = (held.key_width,) * held.layers + (held.value_width,) * held.layers
        shapes = [(slots, held.kv_heads, max_tokens, width) for width in widths]
        self._pages: list[Pages] = []
        self._resident = [0] * slots
        if device.type == "cpu":
            self._pages = [Pages(shape, dtype) for shape in shapes]
            tensors = [pages.tensor for pages in self._pages]
        else:
            tensors = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
        self.keys, self.values = tensors[: held.layers], tensors[held.layers :]
        self.layers_used: set[int] = set()
        """Layers whose attention has read the cache, by index."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Keys and values of all layers."""
        return (*self.keys, *self.values)

    @property
    def resident_tokens(self) -> int:
        """Tokens that memory has been taken for and not given back; 0 where it is not taken as tokens arrive."""
        return sum(self._resident)

    def take(self, slot: int, tokens: int) -> None:
        """Note that a slot is about to hold so many tokens."""
        if self._pages:
            self._resident[slot] = max(self._resident[slot], tokens)

    def keep_only(self, held_tokens: list[int]) -> None:
        """Give back the memory of all but the first `held_tokens[slot]` tokens of each slot."""
        for slot, taken in enumerate(self._resident):
            held = held_tokens[slot] if slot < len(held_tokens) else 0
            if held < taken:
                for pages in self._pages:
                    _give_back(pages, slot, held, taken)
                self._resident[slot] = held

    def move(self, source: int, target: int, tokens: int, *, give_back: bool) -> None:
        """Copy the first `tokens` of one slot to another.

        give_back: layer by layer, where there is no memory for the tokens twice; the slot may soon be used again
        """
        self.take(target, tokens)
        for layer, tensor in enumerate(self.tensors):
            tensor[target, :, :tokens] = tensor[source, :, :tokens]
            if give_back and self._pages:
                _give_back(self._pages[layer], source, 0, self._resident[source])
        if give_back:
            self._resident[source] = 0

    def erase(self, slot: int) -> None:
        """Make a slot zeros again, where a model may have left numbers in it that are none."""
        for tensor in self.tensors:
            tensor[slot, :, : self._resident[slot] if self._pages else None] = 0


def _give_back(pages: Pages, slot: int, start: int, stop: int) -> None:
    """Give back the memory of a slot's tokens `start..stop`; those after `stop` have none."""
    heads, max_tokens, width = pages.tensor.shape[1:]
    first = slot * heads
    if start == 0:
        pages.give_back(first * max_tokens * width, (first + heads) * max_tokens * width)
        return
    for row in range(first, first + heads):
        pages.give_back((row * max_tokens + start) * width, (row * max_tokens + stop) * width)


def bytes_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Return the cache memory that one token takes over all layers."""
    return cache_shape(config).features_per_token * dtype.itemsize
