"""A grade per image: classes in an order, of which neighbours are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from comp.errors import UserError
from comp.metrics import find_metric
from comp.records.task import TaskSpec
from comp.tasks.classes import ClassTask, class_counts

if TYPE_CHECKING:
    import torch

    from comp.schema import Loss
    from comp.tasks.losses import LossFunction

ROUNDS = 3  # passes over the cut points; a fourth changed none of 20 simulated sets of 3,000 grades
CANDIDATES = 60


class Ordinal(ClassTask):
    """Grades from low to high. The network answers, for each grade but the lowest, whether an image reaches it."""

    kind = "ordinal"
    has_decision = True
    default_metric = "quadratic_kappa"

    @classmethod
    def from_labels(cls, labels: Sequence[str], *, name: str = "label", separator: str = " ") -> Self:
        try:
            grades = sorted(class_counts(labels), key=float)
        except ValueError:
            raise UserError(f"data.task=ordinal needs numbers in {name}; set data.task=single") from None
        if len(grades) < 3:
            raise UserError(f"data.task=ordinal needs three grades in {name}, and it has {len(grades)}")
        return cls(TaskSpec("ordinal", tuple(grades)))

    @property
    def outputs(self) -> int:
        return len(self.columns) - 1

    def network_targets(self, targets: np.ndarray) -> np.ndarray:
        return (targets[:, None] > np.arange(self.outputs)).astype(np.float32)

    def soft_targets(self, predictions: np.ndarray) -> np.ndarray:
        reached = predictions[:, ::-1].cumsum(1)[:, ::-1]  # the probability of this grade or a higher one
        return reached[:, 1:].clip(0, 1).astype(np.float32)

    @property
    def has_class_targets(self) -> bool:
        return False  # the network's targets are not indices

    def make_loss(self, options: Loss, targets: np.ndarray, device: torch.device) -> LossFunction:
        from comp.tasks.losses import binary_loss

        return binary_loss(options)

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the probability of each grade. A grade is reached no more often than the one below it."""
        reached = outputs.sigmoid().cummin(-1).values
        ones, zeros = reached.new_ones(*reached.shape[:-1], 1), reached.new_zeros(*reached.shape[:-1], 1)
        import torch

        return torch.cat([ones, reached], -1) - torch.cat([reached, zeros], -1)

    def fit_decision(self, targets: np.ndarray, predictions: np.ndarray, metric: str) -> tuple[float, ...]:
        """Return cut points of the expected grade, moved one at a time while the score rises."""
        if not self.needs_decision(metric):
            return ()
        chosen, expected = find_metric(metric), expected_grades(predictions)
        candidates = np.unique(np.quantile(expected, np.linspace(0, 1, CANDIDATES)))
        cuts = np.arange(self.outputs) + 0.5

        def score(cut_points: np.ndarray) -> float:
            return chosen.sign * chosen.score(targets, self._one_hot(expected, cut_points))

        best = score(cuts)
        for _ in range(ROUNDS):
            for index in range(len(cuts)):
                low = cuts[index - 1] if index else -np.inf
                high = cuts[index + 1] if index + 1 < len(cuts) else np.inf
                for candidate in candidates[(candidates > low) & (candidates < high)]:
                    moved = cuts.copy()
                    moved[index] = candidate
                    if (value := score(moved)) > best + 1e-12:
                        best, cuts = value, moved
        return tuple(float(cut) for cut in cuts)

    def decide(self, predictions: np.ndarray, decision: tuple[float, ...]) -> np.ndarray:
        return self._one_hot(expected_grades(predictions), np.array(decision)) if decision else predictions

    def _one_hot(self, expected: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        return np.eye(len(self.columns))[np.searchsorted(cuts, expected, side="right")]


def expected_grades(predictions: np.ndarray) -> np.ndarray:
    """Return the mean position of each row's grades, weighted by their probabilities."""
    return predictions.astype(np.float64) @ np.arange(predictions.shape[1])
