"""A number per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from comp.errors import UserError
from comp.records.task import TaskSpec
from comp.tasks.base import BlendObjective, Task

if TYPE_CHECKING:
    import torch

    from comp.schema import Loss
    from comp.tasks.losses import LossFunction

BINS = 10  # quantiles that a split spreads evenly


class Regression(Task):
    """A number. The network predicts it standardised; predictions stay in the range of the training targets."""

    kind = "regression"
    form = "numbers"
    default_metric = "rmse"
    loss_names = ("smooth_l1", "mse", "mae")
    blend_methods = ("mean", "greedy", "weights")

    @classmethod
    def from_labels(cls, labels: Sequence[str], *, name: str = "label", separator: str = " ") -> Self:
        numbers = parse_numbers(labels)
        std = float(numbers.std())
        if std == 0:
            raise UserError(f"every image has the same {name}, {numbers[0]:g}; there is nothing to predict")
        return cls(
            TaskSpec(
                "regression",
                (name,),
                mean=float(numbers.mean()),
                std=std,
                low=float(numbers.min()),
                high=float(numbers.max()),
            )
        )

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        return parse_numbers(labels)

    def counts(self, targets: np.ndarray) -> dict[str, int]:
        return {}

    def strata(self, labels: Sequence[str]) -> np.ndarray:
        targets = self.encode(labels)
        edges = np.unique(np.quantile(targets, np.linspace(0, 1, BINS + 1)[1:-1]))
        return np.searchsorted(edges, targets, side="right")

    def network_targets(self, targets: np.ndarray) -> np.ndarray:
        return ((targets - self.spec.mean) / self.spec.std).astype(np.float32)[:, None]

    def soft_targets(self, predictions: np.ndarray) -> np.ndarray:
        return self.network_targets(predictions[:, 0])

    def make_loss(self, options: Loss, targets: np.ndarray, device: torch.device) -> LossFunction:
        from comp.tasks.losses import number_loss

        return number_loss(options)

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        return (outputs * self.spec.std + self.spec.mean).clamp(self.spec.low, self.spec.high)

    def find_invalid(self, predictions: np.ndarray) -> str:
        return "" if np.isfinite(predictions).all() else "a prediction that is not a number"

    def baseline(self, targets: np.ndarray) -> np.ndarray:
        return np.array([targets.mean()])

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return (predictions[:, 0].astype(np.float64) - targets) ** 2

    def errors(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return predictions[:, 0].astype(np.float64) - targets

    def blend_objective(self, members: np.ndarray, targets: np.ndarray) -> BlendObjective:
        numbers = members[:, :, 0].astype(np.float64)
        scale = targets.var() or 1.0  # so that one tolerance suits all units

        def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
            errors = weights @ numbers - targets
            return float((errors**2).mean() / scale), 2 * (numbers * errors).mean(1) / scale

        return loss_and_gradient

    def to_exclusive(self, predictions: np.ndarray) -> None:
        return None


def parse_numbers(labels: Sequence[str]) -> np.ndarray:
    """Return labels as finite numbers; any other label is a UserError."""
    try:
        numbers = np.array([float(label) for label in labels])
    except ValueError as error:
        raise UserError(f"a label is not a number: {error}") from None
    if not np.isfinite(numbers).all():
        raise UserError("a label is not a finite number; fix it or remove its row")
    return numbers
