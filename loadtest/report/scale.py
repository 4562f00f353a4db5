"""Where values lie on an axis, and where its ticks are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TICKS = 5
MOST_LOGARITHMIC_TICKS = 9


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` onto pixels, linearly or by their logarithm."""

    low: float
    high: float
    first_px: float
    last_px: float
    logarithmic: bool = False

    def px(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return self.first_px + (at - low) / (high - low) * (self.last_px - self.first_px)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            return _logarithmic_ticks(self.low, self.high)
        return _linear_ticks(self.low, self.high)


def scale_for(values: Sequence[float], first_px: float, last_px: float, logarithmic: bool = False) -> Scale:
    """A scale between round numbers that holds all values, and zero if it is linear."""
    known = [value for value in values if value > 0] if logarithmic else list(values)
    if not known:
        return Scale(0.1 if logarithmic else 0, 1, first_px, last_px, logarithmic)
    if logarithmic:
        low, high = _round_down(min(known)), _round_up(max(known))
        return Scale(low, high if high > low else low * 10, first_px, last_px, True)
    low, high = min(0.0, *known), max(0.0, *known)
    high = high if high > low else low + 1
    step = _step(low, high)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, first_px, last_px)


def _linear_ticks(low: float, high: float) -> list[float]:
    step = _step(low, high)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _step(low: float, high: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10((high - low) / TICKS))
    return next(factor * magnitude for factor in (1, 2, 5, 10) if (high - low) / (factor * magnitude) <= TICKS + 1e-9)


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    """Ones, twos and fives of each power of ten, or ones alone where there are many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine, coarse = (
        [
            tick
            for exponent in exponents
            for factor in factors
            if low * 0.999 <= (tick := factor * 10.0**exponent) <= high * 1.001
        ]
        for factors in ((1, 2, 5), (1,))
    )
    return fine if len(fine) <= MOST_LOGARITHMIC_TICKS or len(coarse) < 2 else coarse


def _round_down(value: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(value))
    return max(factor for factor in (1, 2, 5) if factor * magnitude <= value * 1.0001) * magnitude


def _round_up(value: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(value))
    return min(factor for factor in (1, 2, 5, 10) if factor * magnitude >= value * 0.9999) * magnitude
