"""Scores: name -> (function, direction), every headline with a bootstrap interval.

All but log loss are functions of the confusion matrix (rows = truth, columns = prediction) and are written here
for a stack of matrices at once: 2,000 bootstrap resamples are then one multinomial draw. scikit-learn has the
same numbers one matrix at a time; the tests hold these against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Metric:
    of: Callable[[np.ndarray], np.ndarray] | None  # of a stack of confusion matrices; None: of the probabilities
    higher_is_better: bool = True


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def _recalls(cm: np.ndarray) -> np.ndarray:
    return _divide(np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-1))


def _precisions(cm: np.ndarray) -> np.ndarray:
    return _divide(np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-2))


def _f1s(cm: np.ndarray) -> np.ndarray:
    return _divide(2.0 * np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-1) + cm.sum(-2))


def _specificities(cm: np.ndarray) -> np.ndarray:
    """One against the rest: of the images that are not of the class, the share not called so."""
    true = np.diagonal(cm, axis1=-2, axis2=-1)
    others = cm.sum((-1, -2))[..., None] - cm.sum(-1)
    return _divide(others - (cm.sum(-2) - true), others)


def _weighted(per_class: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda cm: _divide((per_class(cm) * cm.sum(-1)).sum(-1), cm.sum((-1, -2)))


def _macro(per_class: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Mean over the classes that occur, in truth or in prediction, as scikit-learn does."""

    def mean(cm: np.ndarray) -> np.ndarray:
        occurs = (cm.sum(-1) + cm.sum(-2)) > 0
        return _divide((per_class(cm) * occurs).sum(-1), occurs.sum(-1))

    return mean


def _balanced_accuracy(cm: np.ndarray) -> np.ndarray:
    return _divide(_recalls(cm).sum(-1), (cm.sum(-1) > 0).sum(-1))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(lambda cm: _divide(np.trace(cm, axis1=-2, axis2=-1), cm.sum((-1, -2)))),
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


def confusion(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts by class number; `truth` holds column numbers of `probabilities`."""
    classes = probabilities.shape[1]
    cells = truth.astype(np.int64) * classes + probabilities.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def log_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Per image; clipped at float32's epsilon, as scikit-learn does for float32 input."""
    eps = np.finfo(np.float32).eps
    total = probabilities.sum(1, dtype=np.float64)
    return -np.log(np.clip(probabilities[np.arange(len(truth)), truth] / total, eps, 1.0))


def score(metric: str, truth: np.ndarray, probabilities: np.ndarray) -> float:
    of = METRICS[metric].of
    return float(log_losses(truth, probabilities).mean() if of is None else of(confusion(truth, probabilities)))


def bootstrap_interval(metric: str, truth: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The bootstrap 95 % interval over images. One seed: the same predictions always print the same interval."""
    draw = np.random.default_rng(seed)
    of = METRICS[metric].of
    if of is None:
        losses = log_losses(truth, probabilities)
        values = np.array([draw.choice(losses, len(losses)).mean() for _ in range(RESAMPLES)])
    else:
        cm = confusion(truth, probabilities)
        cells = draw.multinomial(cm.sum(), cm.ravel() / cm.sum(), size=RESAMPLES)
        values = of(cells.reshape(RESAMPLES, *cm.shape))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def score_report(truth: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict:
    """Everything about one table of predictions, as plain numbers."""
    cm = confusion(truth, probabilities)
    per_class = {name: of(cm) for name, of in PER_CLASS.items()}
    return {
        "images": len(truth),
        **{name: score(name, truth, probabilities) for name in METRICS},
        "interval": {
            name: bootstrap_interval(name, truth, probabilities) for name in ("accuracy", "macro_f1", "log_loss")
        },
        "per_class": {
            label: {name: float(values[i]) for name, values in per_class.items()} for i, label in enumerate(classes)
        },
        "confusion": cm.tolist(),
    }
