"""One sequence's place in its grammar."""

import math

import numpy as np
import torch
from llguidance import LLMatcher


class GrammarState:
    """Follows the tokens of a sequence and says which may come next. The end of the text is one of them."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def failure(self) -> str | None:
        """Why the grammar cannot be followed any further, such as a limit of the matcher; None where it can."""
        return self._matcher.get_error().partition("\n")[0] if self._matcher.is_error() else None

    def rule_out(self, scores: torch.Tensor) -> None:
        """Set the scores, [vocabulary], of all tokens that may not come next to -inf; of all tokens after a failure."""
        allowed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            scores.fill_(-math.inf)
            return
        known = np.unpackbits(allowed, count=min(scores.numel(), allowed.size * 8), bitorder="little")
        scores[: known.size].masked_fill_(torch.from_numpy(known == 0).to(scores.device), -math.inf)
        scores[known.size :] = -math.inf

    def accept(self, token_id: int) -> None:
        """Take a step by a token."""
        self._matcher.consume_token(token_id)
