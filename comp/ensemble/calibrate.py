"""How sure is a member, and how sure may it be: one temperature a member, and what is left of its overconfidence.

A softmax forgets only what all logits have in common, so dividing logits by T can be done to saved probabilities too.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

TEMPERATURE_BOUNDS = (0.05, 20.0)
BINS = 15
MIN_PROBABILITY = np.finfo(np.float32).smallest_subnormal  # a zero in a table is a float32 that ran out of digits


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """What logits / T would have given: softmax(log p / T) over the last axis. No image changes its likeliest class."""
    if temperature == 1:
        return probabilities
    logits = _logits(probabilities) / probabilities.dtype.type(temperature)
    raised = np.exp(logits)
    return raised / raised.sum(-1, keepdims=True)


def fit_temperature(spoken: np.ndarray, truth: np.ndarray) -> float:
    """The temperature with the least log loss of what a member says: (views, images, classes), tempered, then averaged.

    log T has a standard normal prior, worth a single image: it holds a member near 1 that is never wrong on these
    images, whose log loss would fall for ever, and one that no temperature helps.
    """
    # classes first, so that sums over them run along memory: (classes, views, images)
    logits = np.ascontiguousarray(np.moveaxis(_logits(np.asarray(spoken, np.float32)), -1, 0))
    true = np.take_along_axis(logits, truth[None, None], 0)[0]
    floor = np.finfo(np.float32).tiny

    def log_loss(log_temperature: float) -> float:
        colder = np.float32(np.exp(-log_temperature))
        said = np.exp(true * colder) / np.exp(logits * colder).sum(0)
        losses = -np.log(np.maximum(said.mean(0), floor))
        return float(losses.mean(dtype=np.float64)) + log_temperature**2 / (2 * len(truth))

    # T within 0.1 %
    found = minimize_scalar(log_loss, bounds=np.log(TEMPERATURE_BOUNDS), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def reliability_curve(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the likeliest class, bin by bin: mean confidence, share that is right, number of images.

    Every bin holds as many images as the next: most members are nearly always nearly sure, and of bins of equal width
    most would hold a handful of images, whose noise is not miscalibration. Equal confidences share a bin, so that the
    order of images means nothing.
    """
    confidence, right = probabilities.max(1).astype(np.float64), probabilities.argmax(1) == truth
    edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, confidence)
    images = np.bincount(place, minlength=bins)
    filled = images > 0
    means = [np.bincount(place, values, bins)[filled] / images[filled] for values in (confidence, right)]
    return means[0], means[1], images[filled]


def expected_calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, on average over images."""
    confidence, accuracy, images = reliability_curve(truth, probabilities, bins)
    return float(np.average(np.abs(confidence - accuracy), weights=images))


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """log p with the largest of an image at 0, so that no exp overflows at any temperature."""
    logs = np.log(np.maximum(probabilities, probabilities.dtype.type(MIN_PROBABILITY)))
    return logs - logs.max(-1, keepdims=True)
