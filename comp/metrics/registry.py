"""Metrics by name: for which forms of targets, in which direction, and what an answer scored by them holds."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np

from comp.errors import UserError, did_you_mean
from comp.metrics import per_image, ranking
from comp.metrics.class_counts import CLASS_SCORES, QUADRATIC_KAPPA, ClassSums
from comp.metrics.computation import Computation, Whole

Form = Literal["classes", "tags", "numbers"]
AnswerKind = Literal["label", "probability", "ranking", "number"]


@dataclass(frozen=True)
class Metric:
    """A score: its computation for each form of targets that it takes."""

    computations: Mapping[Form, Computation]
    answer: AnswerKind  # what a submission that is scored by it holds
    higher_is_better: bool = True
    is_decided: bool = False  # depends on thresholds or cut points, where the task has them
    places: int = 0  # classes that an answer lists, for a ranking
    score_range: tuple[float, float] = (0.0, 1.0)

    @property
    def sign(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return 1 if self.higher_is_better else -1

    def computation(self, targets: np.ndarray) -> Computation:
        """Return the computation for the form of `targets`."""
        return self.computations[form_of(targets)]

    def score(self, targets: np.ndarray, predictions: np.ndarray) -> float:
        """Return the score of predictions (images, columns)."""
        return self.computation(targets).score(targets, predictions)


def form_of(targets: np.ndarray) -> Form:
    """Return the form of an array of targets: class indices, 0 and 1 per tag, or numbers."""
    if targets.ndim == 2:
        return "tags"
    return "classes" if np.issubdtype(targets.dtype, np.integer) else "numbers"


def _of_classes(name: str) -> Metric:
    """Return a metric of decided labels."""
    computations: dict[Form, Computation] = {"classes": ClassSums.of(CLASS_SCORES[name])}
    tags = {"accuracy": per_image.TAG_ACCURACY, "micro_f1": per_image.TAG_MICRO_F1, "macro_f1": per_image.TAG_MACRO_F1}
    if name in tags:
        computations["tags"] = tags[name]
    score_range = (-1.0, 1.0) if name == "mcc" else (0.0, 1.0)
    return Metric(computations, "label", is_decided=True, score_range=score_range)


METRICS: dict[str, Metric] = {
    **{name: _of_classes(name) for name in CLASS_SCORES},
    "quadratic_kappa": Metric({"classes": QUADRATIC_KAPPA}, "label", is_decided=True, score_range=(-1.0, 1.0)),
    "log_loss": Metric(
        {"classes": per_image.CLASS_LOG_LOSS, "tags": per_image.TAG_LOG_LOSS},
        "probability",
        higher_is_better=False,
        score_range=(0.0, inf),
    ),
    "auc": Metric({"classes": ranking.CLASS_AUC, "tags": ranking.TAG_AUC}, "probability"),
    "partial_auc": Metric({"classes": ranking.CLASS_PARTIAL_AUC}, "probability"),
    "weighted_auc": Metric({"classes": ranking.CLASS_WEIGHTED_AUC}, "probability"),
    "average_precision": Metric(
        {"classes": ranking.CLASS_AVERAGE_PRECISION, "tags": ranking.TAG_AVERAGE_PRECISION}, "probability"
    ),
    "probabilistic_f1": Metric({"classes": per_image.PROBABILISTIC_F1}, "probability"),
    **{f"map@{k}": Metric({"classes": per_image.map_at(k)}, "ranking", places=k) for k in (3, 5, 10)},
    **{f"top@{k}": Metric({"classes": per_image.top(k)}, "ranking", places=k) for k in (3, 5, 10)},
    "rmse": Metric({"numbers": per_image.RMSE}, "number", higher_is_better=False, score_range=(0.0, inf)),
    "mae": Metric({"numbers": per_image.MAE}, "number", higher_is_better=False, score_range=(0.0, inf)),
    "r2": Metric({"numbers": per_image.R2}, "number", score_range=(-inf, 1.0)),
    "pearson": Metric({"numbers": per_image.PEARSON}, "number", score_range=(-1.0, 1.0)),
    "spearman": Metric({"numbers": per_image.SPEARMAN}, "number", score_range=(-1.0, 1.0)),
}


CLASS_REPORT = (  # the scores of every run of single labels, in metrics.json
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "macro_specificity",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "log_loss",
)


@lru_cache
def find_metric(name: str) -> Metric:
    """Return a metric by its name in METRICS, or the user's own by `file.py:function`; a UserError for any other."""
    if name in METRICS:
        return METRICS[name]
    if match := re.fullmatch(r"(.+\.py):([A-Za-z_]\w*)", name):
        return _load_own(Path(match[1]), match[2])
    raise UserError(f"train.metric: unknown metric {name}{did_you_mean(name, METRICS)}")


def _load_own(path: Path, function_name: str) -> Metric:
    """Run the user's file and return its function as a metric.

    The function takes targets and predictions, arrays with a row per image, and returns a number. Its attributes
    `higher_is_better` (default True) and `answer` (default "probability") say the rest.
    """
    if not path.is_file():
        raise UserError(f"train.metric: there is no file {path}; write file.py:function, seen from this folder")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, "a file that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = getattr(module, function_name)
    except Exception as error:
        raise UserError(f"train.metric: {path} cannot be run: {type(error).__name__}: {error}") from None
    if not callable(function):
        raise UserError(f"train.metric: {function_name} of {path} is not a function")

    def checked(targets: np.ndarray, predictions: np.ndarray) -> float:
        try:
            return float(function(targets, predictions))
        except Exception as error:  # whatever the user's code may do
            raise UserError(
                f"train.metric: {function_name} of {path} fails: {type(error).__name__}: {error}; it takes targets and "
                f"predictions, and returns a number"
            ) from None

    computation = Whole(checked)
    return Metric(
        {form: computation for form in ("classes", "tags", "numbers")},
        getattr(function, "answer", "probability"),
        getattr(function, "higher_is_better", True),
    )
