"""The arithmetic of the figures: percentiles with enough samples behind them, and intervals of shares."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Distribution = dict[str, float | int | None]

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
NORMAL_95 = 1.959963984540054


def distribution(values: Iterable[float]) -> Distribution:
    """Count, mean, minimum, percentiles (linear between ranks, as numpy's default) and maximum; NaN is left out.

    A percentile is None where fewer samples were taken than one beyond it needs: 100 for p99, 1000 for p99.9.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return {"count": 0, "mean": None, "min": None, **dict.fromkeys(PERCENTILES), "max": None}
    percentiles = {
        name: float(np.percentile(known, percent)) if len(known) >= samples_needed(percent) else None
        for name, percent in PERCENTILES.items()
    }
    return {
        "count": len(known),
        "mean": float(known.mean()),
        "min": float(known.min()),
        **percentiles,
        "max": float(known.max()),
    }


def samples_needed(percent: float) -> int:
    """So many samples that one is to be expected beyond the percentile; one for the median."""
    return 1 if percent <= 50 else math.ceil(round(100 / (100 - percent), 6))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share: (0, 1) where nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = successes / trials, NORMAL_95**2 / trials
    center = (share + spread / 2) / (1 + spread)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / trials + spread / trials / 4) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)
