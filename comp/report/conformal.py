"""Split conformal prediction, cross-fitted: each fold's sets use a threshold from the other folds.

The set of an image holds every class whose probability is high enough, and always the most probable class. The
threshold is the quantile of 1 minus the probability of the true class for which a set of a new image holds its class
with the wanted probability; of numbers, the quantile of the absolute error. Angelopoulos and Bates, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """The sets of a level: for each image, which classes its set holds."""

    level: float
    members: np.ndarray  # (images, classes) of bool
    covered: np.ndarray  # whether the set holds the true class

    @property
    def coverage(self) -> float:
        return float(self.covered.mean())

    @property
    def sizes(self) -> np.ndarray:
        """The number of classes of each set."""
        return self.members.sum(1)


@dataclass(frozen=True)
class PredictionIntervals:
    """The intervals of a level: the prediction plus or minus a width, and the share of targets inside."""

    level: float
    half_width: float  # the mean over folds
    coverage: float


def conformal_quantile(scores: np.ndarray, level: float) -> float:
    """Return the threshold of scores, low for good predictions, that a new score stays below with this probability."""
    rank = int(np.ceil((len(scores) + 1) * level))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def prediction_sets(
    targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, level: float
) -> PredictionSets | None:
    """Return the sets of classes of all images; None for a single fold, which leaves nothing to calibrate on."""
    if len(np.unique(folds)) < 2:
        return None
    distances = 1 - probabilities.astype(np.float64)
    rows = np.arange(len(targets))
    members = np.zeros(probabilities.shape, bool)
    for fold in np.unique(folds):
        inside = folds == fold
        threshold = conformal_quantile(distances[rows, targets][~inside], level)
        members[inside] = distances[inside] <= threshold
    members[rows, probabilities.argmax(1)] = True
    return PredictionSets(level, members, members[rows, targets])


def prediction_intervals(
    targets: np.ndarray, predictions: np.ndarray, folds: np.ndarray, level: float
) -> PredictionIntervals | None:
    """Return the intervals of numbers; None for a single fold."""
    if len(np.unique(folds)) < 2:
        return None
    errors = abs(predictions.astype(np.float64) - targets)
    widths = {fold: conformal_quantile(errors[folds != fold], level) for fold in np.unique(folds)}
    covered = errors <= np.array([widths[fold] for fold in folds])
    return PredictionIntervals(level, float(np.mean(list(widths.values()))), float(covered.mean()))
