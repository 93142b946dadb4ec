"""Thresholds of probabilities: the best one for a score, and probabilities moved so that it becomes 0.5."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CANDIDATES = 99  # thresholds tried: the percentiles of the probabilities, and 0.5


def best_threshold(score: Callable[[float], float], probabilities: np.ndarray) -> float:
    """Return the threshold of the highest score; of equal ones the nearest to 0.5.

    Candidates lie between neighbouring probabilities, so that rounding cannot move an image over the threshold.
    """
    distinct = np.unique(probabilities.astype(np.float64))
    if len(distinct) < 2:
        return 0.5
    between = (distinct[1:] + distinct[:-1]) / 2
    if len(between) > CANDIDATES:
        between = np.quantile(between, np.linspace(0, 1, CANDIDATES), method="nearest")
    candidates = [0.5, *between.tolist()]
    scores = np.array([score(threshold) for threshold in candidates])
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return float(min((candidates[index] for index in best), key=lambda threshold: (abs(threshold - 0.5), threshold)))


def move_threshold(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Return probabilities stretched so that `threshold` becomes 0.5; 0, 1 and the order stay as they are."""
    below = 0.5 * probabilities / threshold
    above = 1 - 0.5 * (1 - probabilities) / (1 - threshold)
    return np.where(probabilities < threshold, below, above)
