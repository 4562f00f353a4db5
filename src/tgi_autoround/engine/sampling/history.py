"""The tokens of a sequence as its penalties see them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class TokenHistory:
    """How often each token has come, prompt included; a token costs one addition, not a pass over the text."""

    def __init__(self, prompt_ids: Iterable[int]) -> None:
        ids, counts = np.unique(np.fromiter(prompt_ids, np.int64), return_counts=True)
        self._index = {int(token_id): index for index, token_id in enumerate(ids)}
        self._ids = ids
        self._counts = counts.astype(np.float32)
        self._tokens = int(counts.sum())

    def add(self, token_id: int) -> None:
        """Count one more token."""
        index = self._index.setdefault(token_id, len(self._index))
        if index == len(self._ids):
            self._grow()
        self._ids[index] = token_id
        self._counts[index] += 1
        self._tokens += 1

    @property
    def ids(self) -> NDArray[np.int64]:
        """The distinct tokens."""
        return self._ids[: len(self._index)]

    @property
    def shares(self) -> NDArray[np.float32]:
        """The share that each of `ids` has in all tokens."""
        return np.divide(self._counts[: len(self._index)], self._tokens, dtype=np.float32)

    def _grow(self) -> None:
        room = max(64, len(self._ids))
        self._ids = np.concatenate([self._ids, np.zeros(room, np.int64)])
        self._counts = np.concatenate([self._counts, np.zeros(room, np.float32)])
