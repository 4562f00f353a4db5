"""What the choice of a token tells of it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token with its natural log-probability after all processing, and the likeliest tokens if asked for.

    `top` holds (id, log-probability), the likeliest first; ties with the last of `top_n_tokens` are in it, tokens
    that were ruled out are not.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def chosen(token_id: int, probabilities: NDArray[np.float32], total: float, top_n_tokens: int) -> Choice:
    """Return the choice of one of `probabilities`, which sum to `total`."""
    logprob = log_share(float(probabilities[token_id]), total)
    if top_n_tokens == 0:
        return Choice(token_id, logprob)
    count = min(top_n_tokens, probabilities.size)
    possible = max(float(np.partition(probabilities, -count)[-count]), float(np.finfo(np.float32).tiny))
    ids = np.flatnonzero(probabilities >= possible)
    ids = ids[np.argsort(-probabilities[ids], kind="stable")]
    return Choice(token_id, logprob, tuple((int(each), log_share(float(probabilities[each]), total)) for each in ids))


def log_share(probability: float, total: float) -> float:
    """Return the natural logarithm of a probability's share of what all sum to; -inf for none."""
    return math.log(probability / total) if probability > 0 else -math.inf
