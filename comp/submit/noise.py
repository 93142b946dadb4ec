"""How sure an accuracy is: its binomial 95 % interval, honest for few images and near 1 too (Wilson's)."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    found = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
