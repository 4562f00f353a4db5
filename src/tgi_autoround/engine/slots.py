"""Which sequence lies in which slot of the cache, and the memory that slots and kept prefixes take together."""

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.prefix_cache import PrefixCache
from tgi_autoround.engine.sequence import Sequence


class Slots:
    """Slots and prefixes hold at most max_batch_total_tokens, where a slot takes memory as tokens arrive."""

    def __init__(self, limits: EngineLimits, cache: KVCache) -> None:
        self._limits = limits
        self._cache = cache
        self._prefixes = PrefixCache(cache, limits.prefix_cache_tokens)
        self._slots: list[Sequence | None] = []

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences in the order of their slots."""
        return [sequence for sequence in self._slots if sequence is not None]

    @property
    def are_taken(self) -> bool:
        """Whether there is no slot for another sequence."""
        return len(self._slots) == self._limits.max_batch_size

    def enter(self, sequence: Sequence) -> None:
        """Give a sequence the next slot."""
        sequence.slot = len(self._slots)
        self._slots.append(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Take a sequence out of its slot, which leaves a gap."""
        self._erase_unseen(sequence)
        self._slots[sequence.slot] = None
        sequence.slot = -1

    def erase(self, sequence: Sequence) -> None:
        """Make zeros of what the model has left in a sequence's slot."""
        self._cache.erase(sequence.slot)

    def close_gaps(self) -> None:
        """Move the last of those that decode into the gaps among them, then up whoever comes after."""
        sequences = self.sequences
        decoding = [sequence for sequence in sequences if sequence.is_decoding]
        gaps = [slot for slot in range(len(decoding)) if self._slots[slot] is None]
        for slot, sequence in zip(gaps, reversed(decoding), strict=False):
            self._relocate(sequence, slot)
        for slot, sequence in enumerate(sequences[len(decoding) :], start=len(decoding)):
            if sequence.slot != slot:
                self._relocate(sequence, slot)
        del self._slots[len(sequences) :]

    def take(self, held_tokens: list[int]) -> None:
        """Take the memory of a step after which slot i holds `held_tokens[i]` tokens."""
        for slot, tokens in enumerate(held_tokens):
            self._cache.take(slot, tokens)
        self._fit_memory(held_tokens)

    def keep(self, sequence: Sequence) -> None:
        """Keep what a sequence has in its slot for others that begin alike."""
        if self._limits.prefix_cache_tokens:
            room = self._limits.max_batch_total_tokens - self._cache.resident_tokens
            self._prefixes.save(sequence, room)

    def reuse_prefix(self, sequence: Sequence) -> int:
        """Copy what is kept of a sequence's beginning into its slot, the last one; return how many tokens that is.

        Room is made for the copy first, which may cost the end of what was found.
        """
        if not self._limits.prefix_cache_tokens:
            return 0
        self._cache.take(sequence.slot, self._prefixes.match(sequence))
        self._fit_memory([other.cached for other in self.sequences[:-1]] + [sequence.prefill_tokens])
        sequence.cached = self._prefixes.match(sequence)
        self._prefixes.load(sequence, sequence.cached)
        return sequence.cached

    def _relocate(self, sequence: Sequence, slot: int) -> None:
        """A step that runs ahead of its plan may have stored the next token already."""
        tokens = sequence.cached + sequence.is_decoding
        in_use = self._cache.resident_tokens + self._prefixes.tokens
        is_tight = in_use + tokens > self._limits.max_batch_total_tokens
        self._cache.move(sequence.slot, slot, tokens, give_back=is_tight)
        self._erase_unseen(sequence)
        self._slots[sequence.slot], self._slots[slot] = None, sequence
        sequence.slot = slot

    def _erase_unseen(self, sequence: Sequence) -> None:
        """Until it decodes nobody has looked at what the model made of it, which may be no numbers."""
        if not sequence.is_decoding:
            self._cache.erase(sequence.slot)

    def _fit_memory(self, held_tokens: list[int]) -> None:
        """What slots no longer hold goes first, then the prefixes that were not used for longest."""
        budget = self._limits.max_batch_total_tokens
        if self._cache.resident_tokens + self._prefixes.tokens > budget:
            self._cache.keep_only(held_tokens)
            self._prefixes.shrink(budget - self._cache.resident_tokens)
