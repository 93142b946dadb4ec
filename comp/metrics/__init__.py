"""Scores of predictions: accuracy, F1, AUC, kappa, RMSE and others, each with its direction and its resamples."""

from comp.metrics.class_counts import PER_CLASS, ClassCounts, confusion
from comp.metrics.per_image import log_losses
from comp.metrics.registry import CLASS_REPORT, METRICS, Metric, find_metric, form_of

__all__ = [
    "CLASS_REPORT",
    "METRICS",
    "PER_CLASS",
    "ClassCounts",
    "Metric",
    "confusion",
    "find_metric",
    "form_of",
    "log_losses",
    "score",
]


def score(metric: str, targets, predictions) -> float:
    """Return the score of predictions (images, columns) by the metric of this name."""
    return find_metric(metric).score(targets, predictions)
