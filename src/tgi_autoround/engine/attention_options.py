"""How one layer of a model attends, beyond softmax(q k) v over everything before."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class AttentionOptions:
    """What a layer's attention does.

    scaling: factor of the products; None is 1 / sqrt(head_dim)
    window: how many tokens a query sees, its own included; None is all
    softcap: scores are bent by `softcap * tanh(score / softcap)`
    key_bias: float32 [heads, positions], ALiBi: added to the scores of the key at each position; only differences count
    sinks: [heads], the score of one more key, which has no value
    """

    scaling: float | None = None
    window: int | None = None
    softcap: float | None = None
    key_bias: torch.Tensor | None = None
    sinks: torch.Tensor | None = None

    def is_plain(self, seen: int) -> bool:
        """Whether queries at positions below `seen` attend causally and in no other way."""
        window_is_open = self.window is None or seen <= self.window
        return window_is_open and self.softcap is None and self.key_bias is None and self.sinks is None
