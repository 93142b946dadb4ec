"""Temperature scaling, reliability curves and expected calibration error (ECE).

Probabilities determine the logits up to a constant per image, so temperature scaling works on saved probabilities too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TEMPERATURE_BOUNDS = (0.05, 20.0)
BINS = 15
MIN_PROBABILITY = np.finfo(np.float32).smallest_subnormal  # a zero in a table is a float32 that underflowed


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log p / T) over the last axis, as if logits had been divided by T; the argmax does not change."""
    if temperature == 1:
        return probabilities
    logits = _logits(probabilities) / probabilities.dtype.type(temperature)
    raised = np.exp(logits)
    return raised / raised.sum(-1, keepdims=True)


def fit_temperature(view_probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature with the lowest log loss for a member's probabilities (views, images, classes).

    The temperature is applied to each view before the views are averaged.

    log T has a standard normal prior, which weighs as much as one image. It keeps T near 1 for a member that is correct
    on all these images, as its log loss would fall without end, and for one that no temperature improves.
    """
    # classes first, so that sums over them run along memory: (classes, views, images)
    logits = np.ascontiguousarray(np.moveaxis(_logits(np.asarray(view_probabilities, np.float32)), -1, 0))
    target_logits = np.take_along_axis(logits, targets[None, None], 0)[0]
    floor = np.finfo(np.float32).tiny

    def log_loss(log_temperature: float) -> float:
        inverse = np.float32(np.exp(-log_temperature))
        target_probabilities = np.exp(target_logits * inverse) / np.exp(logits * inverse).sum(0)
        losses = -np.log(np.maximum(target_probabilities.mean(0), floor))
        return float(losses.mean(dtype=np.float64)) + log_temperature**2 / (2 * len(targets))

    low, high = np.log(TEMPERATURE_BOUNDS)
    # T within 0.1 %
    from scipy.optimize import minimize_scalar  # imported here: it takes 0.8 s, and prediction needs no fit

    result = minimize_scalar(log_loss, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(result.x))


@dataclass(frozen=True, eq=False)
class Confidence:
    """The highest probability of each image, and whether it is of the true class."""

    confidence: np.ndarray
    correct: np.ndarray

    @classmethod
    def of(cls, targets: np.ndarray, probabilities: np.ndarray) -> Confidence:
        """Return the confidence of probabilities (images, classes)."""
        return cls(probabilities.max(1).astype(np.float64), probabilities.argmax(1) == targets)


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Per bin of images: mean confidence, accuracy and number of images."""

    confidence: np.ndarray
    accuracy: np.ndarray
    images: np.ndarray


def reliability_curve(predictions: Confidence, bins: int = BINS) -> ReliabilityCurve:
    """Compare the confidence in the most probable class with the accuracy, bin by bin.

    Bins have equal numbers of images. Most confidences are near 1, so most bins of equal width would have few images,
    whose noise would look like miscalibration. Equal confidences share a bin, so the order of images has no effect.
    """
    confidence, correct = predictions.confidence, predictions.correct
    edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    bin_index = np.searchsorted(edges, confidence)
    images = np.bincount(bin_index, minlength=bins)
    filled = images > 0
    means = [np.bincount(bin_index, values, bins)[filled] / images[filled] for values in (confidence, correct)]
    return ReliabilityCurve(means[0], means[1], images[filled])


def expected_calibration_error(predictions: Confidence, bins: int = BINS) -> float:
    """Return the expected calibration error: the mean distance of confidence and accuracy, weighted by images."""
    curve = reliability_curve(predictions, bins)
    return float(np.average(np.abs(curve.confidence - curve.accuracy), weights=curve.images))


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Return log p with the largest of an image at 0, so that no exp overflows at any temperature."""
    logs = np.log(np.maximum(probabilities, probabilities.dtype.type(MIN_PROBABILITY)))
    return logs - logs.max(-1, keepdims=True)
