"""Keys and values of sequences seen before, so that a prompt that begins as one of them is not computed again.

They are kept in blocks of tokens beside the cache's slots. A block's key is a hash of its tokens and of the key of the
block before it, so equal keys mean equal text from the very beginning, computed with the same adapter.
"""

import hashlib
import itertools
from array import array
from collections import OrderedDict
from collections.abc import Iterator

import torch

from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.memory_pages import Pages
from tgi_autoround.engine.sequence import Sequence

BLOCK_TOKENS = 16


class PrefixCache:
    """Blocks of `BLOCK_TOKENS` tokens, at most `capacity_tokens` together; the one unused for longest goes first."""

    def __init__(self, cache: KVCache, capacity_tokens: int) -> None:
        self._cache = cache
        self._capacity = capacity_tokens // BLOCK_TOKENS
        shapes = [(tensor.shape[1], BLOCK_TOKENS, tensor.shape[3]) for tensor in cache.tensors]
        sizes = [heads * tokens * width for heads, tokens, width in shapes]
        sample = cache.keys[0]
        self._block_size = sum(sizes)
        self._pages: Pages | None = None
        if sample.device.type == "cpu" and self._capacity:
            self._pages = Pages((self._capacity, self._block_size), sample.dtype)
            memory = self._pages.tensor
        else:
            memory = torch.zeros(self._capacity, self._block_size, dtype=sample.dtype, device=sample.device)
        self._parts = [
            memory[:, end - size : end].view(self._capacity, *shape)
            for size, end, shape in zip(sizes, itertools.accumulate(sizes), shapes, strict=True)
        ]
        self._free = list(reversed(range(self._capacity)))
        self._blocks: OrderedDict[bytes, int] = OrderedDict()

    @property
    def tokens(self) -> int:
        """Tokens in the store."""
        return len(self._blocks) * BLOCK_TOKENS

    def match(self, sequence: Sequence) -> int:
        """Return how many tokens of a sequence are here, its last one not counted: computing that gives the next.

        They become the most recently used ones.
        """
        keys = self._keys(sequence, len(sequence.tokens) - 1)
        found = self._count(keys)
        self._use(keys[:found])
        return found * BLOCK_TOKENS

    def load(self, sequence: Sequence, tokens: int) -> None:
        """Copy the first `tokens` of a sequence into its slot; `match` has found them."""
        blocks = [self._blocks[key] for key in self._keys(sequence, tokens)]
        for stored, slot in self._runs(blocks, sequence, 0):
            slot.copy_(stored)

    def save(self, sequence: Sequence, room_tokens: int) -> None:
        """Keep the whole blocks of what a sequence has in its slot, with at most `room_tokens` in the store."""
        room = min(self._capacity, room_tokens // BLOCK_TOKENS)
        keys = self._keys(sequence, sequence.cached)[:room]
        found = self._count(keys)
        self._use(keys[:found])
        missing = keys[found:]
        if not missing:
            return
        while len(self._blocks) + len(missing) > room:
            self._drop()
        blocks = [self._free.pop() for _ in missing]
        for stored, slot in self._runs(blocks, sequence, found):
            stored.copy_(slot)
        self._blocks.update(zip(missing, blocks, strict=True))
        self._use(keys)

    def shrink(self, tokens: int) -> None:
        """Drop the least recently used blocks until at most `tokens` are kept."""
        while self.tokens > max(tokens, 0):
            block = self._drop()
            if self._pages is not None:
                self._pages.give_back(block * self._block_size, (block + 1) * self._block_size)

    def _drop(self) -> int:
        _key, block = self._blocks.popitem(last=False)
        self._free.append(block)
        return block

    def _runs(self, blocks: list[int], sequence: Sequence, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield views of blocks and of the same tokens in a sequence's slot, neighbours together, which copy faster.

        Both are [kv_heads, blocks, BLOCK_TOKENS, head_dim]; `blocks[0]` holds the sequence's block `first`.
        """
        begin = 0
        for end in range(1, len(blocks) + 1):
            if end < len(blocks) and blocks[end] == blocks[end - 1] + 1:
                continue
            tokens = slice((first + begin) * BLOCK_TOKENS, (first + end) * BLOCK_TOKENS)
            for part, tensor in zip(self._parts, self._cache.tensors, strict=True):
                stored = part[blocks[begin] : blocks[end - 1] + 1].transpose(0, 1)
                yield stored, tensor[sequence.slot, :, tokens].view(stored.shape)
            begin = end

    def _count(self, keys: list[bytes]) -> int:
        return next((index for index, key in enumerate(keys) if key not in self._blocks), len(keys))

    def _use(self, keys: list[bytes]) -> None:
        """A block is always more recently used than those that go on from it, so these are dropped before it."""
        for key in reversed(keys):
            self._blocks.move_to_end(key)

    @staticmethod
    def _keys(sequence: Sequence, tokens: int) -> list[bytes]:
        """Return the keys of the whole blocks among a sequence's first `tokens`."""
        keys, count = sequence.block_keys, max(tokens, 0) // BLOCK_TOKENS
        while len(keys) < count:
            parent = keys[-1] if keys else (sequence.request.adapter or "").encode()
            block = array("q", sequence.tokens[len(keys) * BLOCK_TOKENS : (len(keys) + 1) * BLOCK_TOKENS])
            keys.append(hashlib.blake2b(parent + block.tobytes(), digest_size=16).digest())
        return keys[:count]
