"""Ruling out unlikely tokens. Each row is float32 [vocabulary] of probabilities, of which the ruled out become 0.

numpy sorts here, because its vector sort of 32,000 floats takes 0.1 ms where torch's takes 3 ms on the same core.
"""

import numpy as np
from numpy.typing import NDArray

from tgi_autoround.engine.request import SamplingParams

Row = NDArray[np.float32]


def truncate(row: Row, params: SamplingParams) -> None:
    """Apply top_k, top_p and typical_p, in TGI's order, in place. Tokens as likely as the last kept one are kept."""
    floor = 0.0
    head = row
    if 0 < params.top_k < row.size:
        floor = float(np.partition(row, -params.top_k)[-params.top_k])
        head = row[row >= floor]
    if params.top_p < 1.0:
        floor = _nucleus_floor(head, params.top_p)
    if floor > 0:
        row[row < floor] = 0
    if params.typical_p < 1.0:
        _keep_typical(row, params.typical_p)


def _nucleus_floor(head: Row, top_p: float) -> float:
    """The smallest probability among the likeliest tokens that together hold `top_p` of the mass.

    Tokens below the average of the mass to leave out cannot belong to them, so only the others are sorted.
    """
    mass = float(head.sum(dtype=np.float64))
    left_out = (1.0 - top_p) * mass
    candidates = np.sort(head[head >= left_out / head.size])
    below = mass - float(candidates.sum(dtype=np.float64)) + candidates.cumsum(dtype=np.float64)
    first_kept = int(np.searchsorted(below, left_out, side="right"))
    return float(candidates[min(first_kept, candidates.size - 1)])


def _keep_typical(row: Row, mass: float) -> None:
    """Keep the tokens whose information is nearest to the entropy, until they hold `mass`."""
    possible = np.flatnonzero(row)
    probabilities = row[possible] / row[possible].sum(dtype=np.float64)
    information = -np.log(probabilities)
    distance = np.abs(information - (probabilities * information).sum())
    nearest = np.argsort(distance)
    last_kept = int((probabilities[nearest].cumsum() < mass).sum())
    limit = distance[nearest[min(last_kept, possible.size - 1)]]
    row[possible[distance > limit]] = 0
