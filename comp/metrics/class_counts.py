"""Scores of predicted classes, as functions of three counts per class.

How many images of a class there are, how many are predicted as it, and how many of these are correct: a confusion
matrix adds nothing to a score, and has a million cells for 1,000 classes. The functions accept a stack of counts, so
that 2,000 bootstrap resamples are scored at once. scikit-learn computes the same numbers for one table of predictions
at a time; the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from comp.metrics.computation import Sums, divide

if TYPE_CHECKING:
    from scipy.sparse import csr_array


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


ClassScore = Callable[[ClassCounts], np.ndarray]


@dataclass(frozen=True)
class ClassSums(Sums):
    """A score of predicted classes, as a function of their counts."""

    from_counts: ClassScore

    @classmethod
    def of(cls, from_counts: ClassScore) -> Self:
        """Return the computation of a score."""
        return cls(_values, lambda sums, _: from_counts(counts_from_sums(sums)), from_counts)

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> float:
        return float(self.from_counts(count_classes(targets, predictions.argmax(1), predictions.shape[1])))


def _values(targets: np.ndarray, predictions: np.ndarray) -> csr_array:
    return class_membership(targets, predictions.argmax(1), predictions.shape[1])


def class_membership(targets: np.ndarray, predicted: np.ndarray, classes: int) -> csr_array:
    """Return which counts (3 x classes) each pair of target and prediction adds to, (3 x classes, pairs)."""
    from scipy.sparse import csr_array  # imported here: it takes 0.2 s, and a prediction needs no score

    pairs, correct = np.arange(len(targets)), np.flatnonzero(targets == predicted)
    rows = np.concatenate([targets, classes + predicted, 2 * classes + targets[correct]])
    columns = np.concatenate([pairs, pairs, correct])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(3 * classes, len(pairs)))


def counts_from_sums(sums: np.ndarray) -> ClassCounts:
    """Return the counts (resamples, classes) of sums (3 x classes, resamples), in the order of `class_membership`."""
    # one resample's classes side by side, as if each were counted alone: a sum over them depends on it in the last bit
    return ClassCounts(*np.ascontiguousarray(sums.T).reshape(sums.shape[1], 3, -1).transpose(1, 0, 2))


def _recalls(counts: ClassCounts) -> np.ndarray:
    return divide(counts.correct, counts.true)


def _precisions(counts: ClassCounts) -> np.ndarray:
    return divide(counts.correct, counts.predicted)


def _f1s(counts: ClassCounts) -> np.ndarray:
    return divide(2.0 * counts.correct, counts.true + counts.predicted)


def _specificities(counts: ClassCounts) -> np.ndarray:
    """Return the specificity TN / (TN + FP) of each class."""
    negatives = counts.true.sum(-1, keepdims=True) - counts.true
    false_positives = counts.predicted - counts.correct
    return divide(negatives - false_positives, negatives)


def _weighted(per_class: Callable[[ClassCounts], np.ndarray]) -> Callable[[ClassCounts], np.ndarray]:
    """Return the mean of a score over the classes, weighted by their number of images."""
    return lambda counts: divide((per_class(counts) * counts.true).sum(-1), counts.true.sum(-1))


def _macro(per_class: Callable[[ClassCounts], np.ndarray]) -> Callable[[ClassCounts], np.ndarray]:
    """Return the mean of a score over the classes that are true or predicted at least once, as in scikit-learn."""

    def mean(counts: ClassCounts) -> np.ndarray:
        occurs = (counts.true + counts.predicted) > 0
        return divide((per_class(counts) * occurs).sum(-1), occurs.sum(-1))

    return mean


def _accuracy(counts: ClassCounts) -> np.ndarray:
    return divide(counts.correct.sum(-1), counts.true.sum(-1))


def _balanced_accuracy(counts: ClassCounts) -> np.ndarray:
    return divide(_recalls(counts).sum(-1), (counts.true > 0).sum(-1))


def _matthews(counts: ClassCounts) -> np.ndarray:
    """Return Matthews' correlation coefficient, of any number of classes."""
    true, predicted = np.asarray(counts.true, np.float64), np.asarray(counts.predicted, np.float64)
    images = true.sum(-1)
    covariance = counts.correct.sum(-1) * images - (true * predicted).sum(-1)
    return divide(covariance, np.sqrt((images**2 - (true**2).sum(-1)) * (images**2 - (predicted**2).sum(-1))))


CLASS_SCORES: dict[str, ClassScore] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_precision": _macro(_precisions),
    "macro_recall": _macro(_recalls),
    "macro_f1": _macro(_f1s),
    "macro_specificity": _macro(_specificities),
    "weighted_precision": _weighted(_precisions),
    "weighted_recall": _weighted(_recalls),
    "weighted_f1": _weighted(_f1s),
    "micro_f1": _accuracy,  # of one label per image
    "mcc": _matthews,
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


def _kappa_values(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    grades = predictions.argmax(1).astype(np.float64)
    return np.stack([(targets - grades) ** 2, targets, grades, targets**2.0, grades**2])


def _kappa(sums: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa with quadratic weights: 1 minus the squared distance over that of independent answers."""
    observed, true, predicted, true_squares, predicted_squares = sums / images
    return 1 - divide(observed, true_squares + predicted_squares - 2 * true * predicted)


QUADRATIC_KAPPA = Sums(_kappa_values, _kappa)
