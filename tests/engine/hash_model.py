"""A model without weights, whose every token depends on all rows that the cache holds of its sequence."""

import torch
from transformers import LlamaConfig

from tgi_autoround.engine.config import EngineLimits
from tgi_autoround.engine.kv_cache import KVCache
from tgi_autoround.engine.request import Request
from tgi_autoround.engine.scheduler import Plan
from tgi_autoround.engine.sequence import Sequence

VOCABULARY = 50
PRIME = 1_000_003


def make_cache(limits: EngineLimits) -> KVCache:
    """A row of 1 KiB, so that four tokens fill a page of memory."""
    config = LlamaConfig(hidden_size=256, num_attention_heads=1, num_key_value_heads=1, num_hidden_layers=1)
    return KVCache(config, limits.max_batch_size, limits.max_total_tokens, torch.float32, torch.device("cpu"))


def absorb(state: int, token: int, adapter: str | None) -> int:
    return (state * 31 + token * 7 + len(adapter or "") + 1) % PRIME


def tokens_alone(request: Request) -> list[int]:
    """What a request gets when nothing else runs."""
    state = 0
    for token in request.prompt_ids:
        state = absorb(state, token, request.adapter)
    tokens = []
    for _ in range(request.params.max_new_tokens):
        tokens.append(state % VOCABULARY)
        state = absorb(state, tokens[-1], request.adapter)
    return tokens


class HashModel:
    """Writes the hash up to each token as its key and value, reading the one before from the cache."""

    def __init__(self, cache: KVCache) -> None:
        self._keys, self._values = cache.keys[0].numpy(), cache.values[0].numpy()

    def step(self, plan: Plan) -> list[tuple[Sequence, int]]:
        due = [(sequence, self._compute(sequence, len(sequence.tokens))) for sequence in plan.decoding]
        for chunk in plan.chunks:
            token = self._compute(chunk.sequence, chunk.stop)
            if chunk.is_last:
                due.append((chunk.sequence, token))
        return due

    def break_down(self, plan: Plan) -> None:
        """Leave rows that are no numbers."""
        for sequence in plan.decoding:
            self._keys[sequence.slot, 0, : sequence.cached + 1] = float("nan")
        for chunk in plan.chunks:
            self._keys[chunk.sequence.slot, 0, : chunk.stop] = float("nan")

    def _compute(self, sequence: Sequence, stop: int) -> int:
        slot, state = sequence.slot, 0
        if sequence.cached:
            state = int(self._keys[slot, 0, sequence.cached - 1, 0])
            assert state == self._values[slot, 0, sequence.cached - 1, 0]
        for position in range(sequence.cached, stop):
            state = absorb(state, sequence.tokens[position], sequence.request.adapter)
            self._keys[slot, 0, position, 0] = self._values[slot, 0, position, 0] = state
        sequence.cached = stop
        return state % VOCABULARY
