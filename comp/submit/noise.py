"""How sure an accuracy is: its binomial 95 % interval, honest for few images and near 1 too (Wilson's)."""

from __future__ import annotations

import math

SIGMAS = 1.959964


def interval(accuracy: float, images: int) -> tuple[float, float]:
    squared = SIGMAS ** 2 / images
    centre = (accuracy + squared / 2) / (1 + squared)
    half = SIGMAS / (1 + squared) * math.sqrt(accuracy * (1 - accuracy) / images + squared / (4 * images))
    return max(0.0, centre - half), min(1.0, centre + half)
