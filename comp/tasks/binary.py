"""Yes or no: two classes, and a probability of the second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from comp.errors import UserError
from comp.records.task import TaskSpec
from comp.tasks.classes import ClassTask, class_counts
from comp.tasks.thresholds import move_threshold


class Binary(ClassTask):
    """Two classes. The second is what is asked for: its probability is what a submission holds."""

    kind = "binary"
    has_decision = True
    default_metric = "auc"

    @classmethod
    def from_labels(cls, labels: Sequence[str], *, name: str = "label", separator: str = " ") -> Self:
        counts = class_counts(labels)
        if len(counts) != 2:
            raise UserError(
                f"data.task=binary needs two values of {name}, and it has {len(counts)}; set data.task=single, or "
                f"data.positive to the values that mean yes"
            )
        return cls(TaskSpec("binary", tuple(sorted(counts))))

    def from_maximum(self, highest: np.ndarray) -> np.ndarray:
        """Return the highest probability of yes, and what is left for no."""
        return np.stack([1 - highest[..., 1], highest[..., 1]], -1)

    def fit_decision(self, targets: np.ndarray, predictions: np.ndarray, metric: str) -> tuple[float, ...]:
        """Return the probability of yes from which the answer is yes."""
        return self.fit_threshold(targets, predictions, metric)

    def decide(self, predictions: np.ndarray, decision: tuple[float, ...]) -> np.ndarray:
        if not decision:
            return predictions
        moved = move_threshold(predictions[:, 1], decision[0])
        return np.stack([1 - moved, moved], 1)
