"""Scores of predictions: each metric is a function of the confusion matrix, or the log loss.

A confusion matrix has a row per true class and a column per predicted class. Its functions accept a stack of
matrices, so that 2,000 bootstrap resamples are scored at once. scikit-learn computes the same numbers for one matrix
at a time; the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metric:
    """A score and its direction.

    `from_confusion` maps confusion matrices (..., classes, classes) to scores (...). It is None for the log loss, which
    needs the probabilities.
    """

    from_confusion: Callable[[np.ndarray], np.ndarray] | None
    higher_is_better: bool = True

    @property
    def sign(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return 1 if self.higher_is_better else -1


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def _recalls(cm: np.ndarray) -> np.ndarray:
    return _divide(np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-1))


def _precisions(cm: np.ndarray) -> np.ndarray:
    return _divide(np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-2))


def _f1s(cm: np.ndarray) -> np.ndarray:
    return _divide(2.0 * np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-1) + cm.sum(-2))


def _specificities(cm: np.ndarray) -> np.ndarray:
    """Return the specificity TN / (TN + FP) of each class."""
    true_positives = np.diagonal(cm, axis1=-2, axis2=-1)
    negatives = cm.sum((-1, -2))[..., None] - cm.sum(-1)
    false_positives = cm.sum(-2) - true_positives
    return _divide(negatives - false_positives, negatives)


def _weighted(per_class: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the mean of a score over the classes, weighted by their number of images."""
    return lambda cm: _divide((per_class(cm) * cm.sum(-1)).sum(-1), cm.sum((-1, -2)))


def _macro(per_class: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the mean of a score over the classes that are true or predicted at least once, as in scikit-learn."""

    def mean(cm: np.ndarray) -> np.ndarray:
        occurs = (cm.sum(-1) + cm.sum(-2)) > 0
        return _divide((per_class(cm) * occurs).sum(-1), occurs.sum(-1))

    return mean


def _accuracy(cm: np.ndarray) -> np.ndarray:
    return _divide(np.trace(cm, axis1=-2, axis2=-1), cm.sum((-1, -2)))


def _balanced_accuracy(cm: np.ndarray) -> np.ndarray:
    return _divide(_recalls(cm).sum(-1), (cm.sum(-1) > 0).sum(-1))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy),
    "balanced_accuracy": Metric(_balanced_accuracy),
    "macro_precision": Metric(_macro(_precisions)),
    "macro_recall": Metric(_macro(_recalls)),
    "macro_f1": Metric(_macro(_f1s)),
    "macro_specificity": Metric(_macro(_specificities)),
    "weighted_precision": Metric(_weighted(_precisions)),
    "weighted_recall": Metric(_weighted(_recalls)),
    "weighted_f1": Metric(_weighted(_f1s)),
    "log_loss": Metric(None, higher_is_better=False),
}
PER_CLASS = {"precision": _precisions, "recall": _recalls, "f1": _f1s, "specificity": _specificities}


def confusion(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix, in numbers of images. `targets` holds class indices: columns of `probabilities`."""
    classes = probabilities.shape[1]
    cells = targets.astype(np.int64) * classes + probabilities.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def log_losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the log loss of each image; clipped at float32's epsilon, as scikit-learn does for float32 input."""
    eps = np.finfo(np.float32).eps
    total = probabilities.sum(1, dtype=np.float64)
    return -np.log(np.clip(probabilities[np.arange(len(targets)), targets] / total, eps, 1.0))


def score(metric: str, targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the score of probabilities (images, classes) by one of METRICS."""
    from_confusion = METRICS[metric].from_confusion
    if from_confusion is None:
        return float(log_losses(targets, probabilities).mean())
    return float(from_confusion(confusion(targets, probabilities)))
