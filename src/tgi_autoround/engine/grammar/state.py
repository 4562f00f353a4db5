"""One sequence's place in its grammar."""

import math

import numpy as np
import torch
from llguidance import LLMatcher
from numpy.typing import NDArray


class GrammarState:
    """Follows the tokens of a sequence and says which may come next. The end of the text is one of them."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._panic: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the grammar cannot be followed any further, such as a limit of the matcher; None where it can."""
        if self._panic is not None:
            return self._panic
        return self._matcher.get_error().partition("\n")[0] if self._matcher.is_error() else None

    def rule_out(self, scores: torch.Tensor) -> None:
        """Set the scores, [vocabulary], of all tokens that may not come next to -inf; of all tokens after a failure."""
        allowed = self._allowed()
        if allowed is None:
            scores.fill_(-math.inf)
            return
        known = np.unpackbits(allowed, count=min(scores.numel(), allowed.size * 8), bitorder="little")
        scores[: known.size].masked_fill_(torch.from_numpy(known == 0).to(scores.device), -math.inf)
        scores[known.size :] = -math.inf

    def _allowed(self) -> NDArray[np.uint8] | None:
        """Return a bit for each token, or None after a failure. A panic of the matcher, in Rust, is no Exception."""
        if self._panic is not None:
            return None
        try:
            allowed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as panic:
            self._panic = f"the matcher broke down: {panic}".partition("\n")[0]
            return None
        return None if self._matcher.is_error() else allowed

    def accept(self, token_id: int) -> None:
        """Take a step by a token."""
        self._matcher.consume_token(token_id)
