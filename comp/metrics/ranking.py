"""Scores of a ranking by probability: areas under curves, per column, and the mean over columns."""

from __future__ import annotations

import numpy as np

from comp.metrics.computation import Ranking


def _yes(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the second of two classes as the one column, or each of several against the rest."""
    if probabilities.shape[1] == 2:
        return (targets == 1)[:, None], probabilities[:, 1:]
    return targets[:, None] == np.arange(probabilities.shape[1]), probabilities


def _tags(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return targets, probabilities


def _rates(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true and false positive rates (points, resamples), from 0 to 1."""
    start = np.zeros((1, positives.shape[1]))
    return np.vstack([start, positives / positives[-1]]), np.vstack([start, negatives / negatives[-1]])


def _area(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.diff(x, axis=0) * (y[1:] + y[:-1])).sum(0) / 2


def _auc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    tpr, fpr = _rates(positives, negatives)
    return _area(fpr, tpr)


def _partial_auc(positives: np.ndarray, negatives: np.ndarray, max_fpr: float = 0.1) -> np.ndarray:
    """Return the area up to a false positive rate of 0.1, scaled so that chance is 0.5 (McClish)."""
    tpr, fpr = _rates(positives, negatives)
    step = np.diff(fpr, axis=0)
    share = np.clip(np.divide(max_fpr - fpr[:-1], step, out=np.ones_like(step), where=step > 0), 0, 1)
    share[fpr[:-1] >= max_fpr] = 0
    end = tpr[:-1] + share * np.diff(tpr, axis=0)
    area = (step * share * (tpr[:-1] + end)).sum(0) / 2
    smallest = max_fpr**2 / 2
    return 0.5 * (1 + (area - smallest) / (max_fpr - smallest))


def _weighted_auc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the area in which true positive rates up to 0.4 count twice, scaled to 1 for a perfect ranking."""
    tpr, fpr = _rates(positives, negatives)
    below = (np.diff(fpr, axis=0) * _mean_below(tpr, 0.4)).sum(0)
    return (_area(fpr, tpr) + below) / 1.4


def _mean_below(tpr: np.ndarray, limit: float) -> np.ndarray:
    """Return the mean of min(tpr, limit) over each straight piece of the curve."""
    a, b = tpr[:-1], tpr[1:]
    crossing = np.divide(limit - a, b - a, out=np.ones_like(a), where=b > a).clip(0, 1)
    rising = crossing * (a + np.minimum(b, limit)) / 2 + (1 - crossing) * limit
    return np.where(a >= limit, limit, rising)


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    recall = np.vstack([np.zeros((1, positives.shape[1])), positives / positives[-1]])
    total = positives + negatives
    precision = np.divide(positives, total, out=np.zeros(total.shape), where=total > 0)
    return (np.diff(recall, axis=0) * precision).sum(0)


CLASS_AUC, TAG_AUC = Ranking(_yes, _auc), Ranking(_tags, _auc)
CLASS_PARTIAL_AUC = Ranking(_yes, _partial_auc)
CLASS_WEIGHTED_AUC = Ranking(_yes, _weighted_auc)
CLASS_AVERAGE_PRECISION, TAG_AVERAGE_PRECISION = Ranking(_yes, _average_precision), Ranking(_tags, _average_precision)
