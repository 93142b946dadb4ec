"""Computations of scores, also for bootstrap resamples of the images.

A resample is a column of counts: how often each image was drawn. A scorer maps counts (images, resamples) to scores
(resamples,), and does once what all resamples share: sorting, comparing, counting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Scorer = Callable[[np.ndarray], np.ndarray]


class Computation(ABC):
    """The computation of a score from targets and predictions of one form."""

    @abstractmethod
    def scorer(self, targets: np.ndarray, predictions: np.ndarray) -> Scorer:
        """Return the function that scores resamples of these images."""

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> float:
        """Return the score of all images."""
        return float(self.scorer(targets, predictions)(np.ones((len(targets), 1)))[0])


@dataclass(frozen=True)
class Sums(Computation):
    """A function of sums over the images: of errors, of hits, or of the images in each class."""

    values: Callable[[np.ndarray, np.ndarray], np.ndarray | csr_array]  # targets, predictions -> (values, images)
    from_sums: Callable[[np.ndarray, np.ndarray], np.ndarray]  # sums (values, resamples), number of images -> scores

    def scorer(self, targets: np.ndarray, predictions: np.ndarray) -> Scorer:
        values = self.values(targets, predictions)
        return lambda counts: self.from_sums(values @ counts, counts.sum(0))


@dataclass(frozen=True)
class Mean(Computation):
    """The mean of one value per image."""

    values: Callable[[np.ndarray, np.ndarray], np.ndarray]  # targets, predictions -> (images,)

    def scorer(self, targets: np.ndarray, predictions: np.ndarray) -> Scorer:
        values = self.values(targets, predictions)
        return lambda counts: values @ counts / len(values)

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> float:
        return float(self.values(targets, predictions).mean())


@dataclass(frozen=True)
class Ranking(Computation):
    """A score of a ranking of the images, or of one for each column: then the mean over the columns."""

    columns: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    # targets, predictions -> which images are positive, and the values that they are ranked by: (images, columns)
    from_curve: Callable[[np.ndarray, np.ndarray], np.ndarray]
    # positives and negatives among the images ranked at or above each distinct value, (values, resamples) -> scores

    def scorer(self, targets: np.ndarray, predictions: np.ndarray) -> Scorer:
        positive, values = self.columns(targets, predictions)
        scorers = [self._column_scorer(positive[:, column], values[:, column]) for column in range(values.shape[1])]

        def score(counts: np.ndarray) -> np.ndarray:
            total, used = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
            for scorer in scorers:
                scores = scorer(counts)
                valid = np.isfinite(scores)  # a column without a positive or without a negative has no score
                total[valid] += scores[valid]
                used += valid
            return np.divide(total, used, out=np.full(len(total), np.nan), where=used > 0)

        return score

    def _column_scorer(self, positive: np.ndarray, values: np.ndarray) -> Scorer:
        order = np.argsort(-values, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)  # equal values share a rank
        is_positive = positive[order].astype(bool)[:, None]

        def score(counts: np.ndarray) -> np.ndarray:
            ordered = counts[order]
            positives = np.cumsum(np.where(is_positive, ordered, 0), 0)[ends]
            negatives = np.cumsum(np.where(is_positive, 0, ordered), 0)[ends]
            with np.errstate(invalid="ignore", divide="ignore"):
                return self.from_curve(positives, negatives)

        return score


@dataclass(frozen=True)
class Whole(Computation):
    """Any function of targets and predictions, such as the user's own: called once per resample."""

    function: Callable[[np.ndarray, np.ndarray], float]

    def scorer(self, targets: np.ndarray, predictions: np.ndarray) -> Scorer:
        def score(counts: np.ndarray) -> np.ndarray:
            rows = [np.repeat(np.arange(len(targets)), column.astype(int)) for column in counts.T]
            return np.array([float(self.function(targets[row], predictions[row])) for row in rows])

        return score

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> float:
        return float(self.function(targets, predictions))


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)
