"""Scores that are functions of means over images: losses, errors, correlations, counts of tags, ranks of classes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from comp.metrics.computation import Mean, Sums, divide

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# ---- classes ----


def log_losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the log loss of each image; clipped at float32's epsilon, as scikit-learn does for float32 input."""
    eps = np.finfo(np.float32).eps
    total = probabilities.sum(1, dtype=np.float64)
    return -np.log(np.clip(probabilities[np.arange(len(targets)), targets] / total, eps, 1.0))


def _places(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the place of the true class in each image's ranking, from 1; of equal probabilities the first class wins,
    as in an answer that lists the best."""
    of_target = probabilities[np.arange(len(targets)), targets][:, None]
    before = np.arange(probabilities.shape[1]) < targets[:, None]
    return 1 + (probabilities > of_target).sum(1) + ((probabilities == of_target) & before).sum(1)


def _precision_at(k: int, targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    places = _places(targets, probabilities)
    return np.where(places <= k, 1 / places, 0)


def _hit_at(k: int, targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return (_places(targets, probabilities) <= k).astype(np.float64)


def map_at(k: int) -> Mean:
    """Return the mean of 1 / place of the true class among the `k` best, 0 behind them."""
    return Mean(partial(_precision_at, k))


def top(k: int) -> Mean:
    """Return the share of images whose true class is among the `k` best."""
    return Mean(partial(_hit_at, k))


CLASS_LOG_LOSS = Mean(log_losses)


def _probabilistic_counts(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    yes = probabilities[:, 1].astype(np.float64)
    return np.stack([yes * targets, yes, targets.astype(np.float64)])


def _probabilistic_f1(sums: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return F1 with probabilities as counts: a hit counts the probability of yes."""
    hits, predicted, true = sums
    return 2 * divide(hits, predicted + true)


PROBABILISTIC_F1 = Sums(_probabilistic_counts, _probabilistic_f1)


# ---- tags ----


def _tag_counts(targets: np.ndarray, probabilities: np.ndarray) -> csr_array:
    """Return hits, predicted and true tags per image, (3 x tags, images). Sparse: of 3,470 tags an image has three."""
    from scipy.sparse import csr_array, vstack  # imported here: it takes 0.2 s, and a prediction needs no score

    predicted, true = csr_array((probabilities >= 0.5).T.astype(np.float64)), csr_array(targets.T.astype(np.float64))
    return vstack([predicted.multiply(true), predicted, true], format="csr")


def _micro_f1(sums: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return F1 over all pairs of image and tag. Tags that no image has are left out, as scikit-learn does."""
    hits, predicted, true = sums.reshape(3, -1, sums.shape[-1])
    occurs = true > 0
    return 2 * divide(hits.sum(0), (predicted * occurs).sum(0) + true.sum(0))


def _macro_f1(sums: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the mean of each tag's F1, over the tags that are true or predicted at least once."""
    hits, predicted, true = sums.reshape(3, -1, sums.shape[-1])
    occurs = predicted + true > 0
    return divide((2 * divide(hits, predicted + true)).sum(0), occurs.sum(0))


def _exact_matches(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return ((probabilities >= 0.5) == (targets == 1)).all(1).astype(np.float64)


def _tag_log_losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    of_target = np.where(targets == 1, probabilities, 1 - probabilities).astype(np.float64)
    return -np.log(np.clip(of_target, np.finfo(np.float32).eps, 1)).mean(1)


TAG_MICRO_F1 = Sums(_tag_counts, _micro_f1)
TAG_MACRO_F1 = Sums(_tag_counts, _macro_f1)
TAG_ACCURACY = Mean(_exact_matches)
TAG_LOG_LOSS = Mean(_tag_log_losses)


# ---- numbers ----


def _errors(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return predictions[:, 0].astype(np.float64) - targets


def _moments(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    a, b = targets - targets.mean(), predictions[:, 0].astype(np.float64) - targets.mean()
    return np.stack([a, b, a * a, b * b, a * b, (a - b) ** 2])


def _pearson(sums: np.ndarray, images: np.ndarray) -> np.ndarray:
    a, b, aa, bb, ab, _ = sums / images
    return divide(ab - a * b, np.sqrt(np.maximum((aa - a * a) * (bb - b * b), 0)))


def _r2(sums: np.ndarray, images: np.ndarray) -> np.ndarray:
    a, _, aa, _, _, squared_error = sums / images
    return 1 - divide(squared_error, aa - a * a)


def _rank_moments(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return the moments of ranks. Resamples keep the ranks of all images: ranking each anew takes 100 times longer."""
    from scipy.stats import rankdata  # imported here: it takes 0.5 s, and most programs never need it

    return _moments(rankdata(targets), rankdata(predictions[:, 0])[:, None])


def _squared_errors(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return _errors(targets, predictions)[None] ** 2


def _absolute_errors(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return abs(_errors(targets, predictions))


RMSE = Sums(_squared_errors, lambda sums, images: np.sqrt(sums[0] / images))
MAE = Mean(_absolute_errors)
R2 = Sums(_moments, _r2)
PEARSON = Sums(_moments, _pearson)
SPEARMAN = Sums(_rank_moments, _pearson)
