"""Scores of predictions: each metric is a function of three counts per class, or the log loss.

How many images of a class there are, how many are predicted as it, and how many of these are correct: a confusion
matrix adds nothing to a score, and has a million cells for 1,000 classes. The functions accept a stack of counts, so
that 2,000 bootstrap resamples are scored at once. scikit-learn computes the same numbers for one table of predictions
at a time; the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Numbers of images per class, each (..., classes)."""

    true: np.ndarray  # of this class
    predicted: np.ndarray  # predicted as this class
    correct: np.ndarray  # both

    @staticmethod
    def from_confusion(cm: np.ndarray) -> ClassCounts:
        """Return the counts of confusion matrices (..., classes, classes)."""
        return ClassCounts(cm.sum(-1), cm.sum(-2), np.diagonal(cm, axis1=-2, axis2=-1))


@dataclass(frozen=True)
class Metric:
    """A score and its direction.

    `from_counts` maps counts (..., classes) to scores (...). It is None for the log loss, which needs the
    probabilities.
    """

    from_counts: Callable[[ClassCounts], np.ndarray] | None
    higher_is_better: bool = True

    @property
    def sign(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return 1 if self.higher_is_better else -1


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def _recalls(counts: ClassCounts) -> np.ndarray:
    return _divide(counts.correct, counts.true)


def _precisions(counts: ClassCounts) -> np.ndarray:
    return _divide(counts.correct, counts.predicted)


def _f1s(counts: ClassCounts) -> np.ndarray:
    return _divide(2.0 * counts.correct, counts.true + counts.predicted)


def _specificities(counts: ClassCounts) -> np.ndarray:
    """Return the specificity TN / (TN + FP) of each class."""
    negatives = counts.true.sum(-1, keepdims=True) - counts.true
    false_positives = counts.predicted - counts.correct
    return _divide(negatives - false_positives, negatives)


def _weighted(per_class: Callable[[ClassCounts], np.ndarray]) -> Callable[[ClassCounts], np.ndarray]:
    """Return the mean of a score over the classes, weighted by their number of images."""
    return lambda counts: _divide((per_class(counts) * counts.true).sum(-1), counts.true.sum(-1))


def _macro(per_class: Callable[[ClassCounts], np.ndarray]) -> Callable[[ClassCounts], np.ndarray]:
    """Return the mean of a score over the classes that are true or predicted at least once, as in scikit-learn."""

    def mean(counts: ClassCounts) -> np.ndarray:
        occurs = (counts.true + counts.predicted) > 0
        return _divide((per_class(counts) * occurs).sum(-1), occurs.sum(-1))

    return mean


def _accuracy(counts: ClassCounts) -> np.ndarray:
    return _divide(counts.correct.sum(-1), counts.true.sum(-1))


def _balanced_accuracy(counts: ClassCounts) -> np.ndarray:
    return _divide(_recalls(counts).sum(-1), (counts.true > 0).sum(-1))


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


def count_classes(targets: np.ndarray, predicted: np.ndarray, classes: int) -> ClassCounts:
    """Return the counts of class indices per image."""
    images = (targets, predicted, targets[targets == predicted])
    return ClassCounts(*(np.bincount(indices, minlength=classes) for indices in images))


def confusion(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix: numbers of images, a row per true class and a column per predicted class.

    `targets` holds class indices: columns of `probabilities`.
    """
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
    from_counts = METRICS[metric].from_counts
    if from_counts is None:
        return float(log_losses(targets, probabilities).mean())
    return float(from_counts(count_classes(targets, probabilities.argmax(1), probabilities.shape[1])))
