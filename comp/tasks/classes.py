"""The methods that tasks with one true class per image share: softmax probabilities, loss, baseline and blending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from comp.errors import UserError, did_you_mean
from comp.metrics import log_losses
from comp.tasks.base import BlendObjective, Task

if TYPE_CHECKING:
    import torch

    from comp.schema import Loss
    from comp.tasks.losses import LossFunction

MIN_PROBABILITY = np.finfo(np.float32).eps  # where the log loss is clipped too


class ClassTask(Task):
    """A task whose targets are class indices and whose predictions are probabilities that sum to 1."""

    form = "classes"
    default_metric = "accuracy"

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        indices = {label: index for index, label in enumerate(self.columns)}
        unknown = next((label for label in labels if label not in indices), None)
        if unknown is not None:
            raise UserError(f"the label {unknown!r} is not a class{did_you_mean(unknown, self.columns)}")
        return np.array([indices[label] for label in labels], np.int64)

    def counts(self, targets: np.ndarray) -> dict[str, int]:
        return dict(zip(self.columns, np.bincount(targets, minlength=len(self.columns)).tolist(), strict=True))

    def strata(self, labels: Sequence[str]) -> np.ndarray:
        return np.asarray(labels, dtype=object)  # not indices: the order of classes must not change a split

    def make_loss(self, options: Loss, targets: np.ndarray, device: torch.device) -> LossFunction:
        from comp.tasks.losses import class_loss

        return class_loss(options, targets, len(self.columns), device)

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.softmax(-1)

    def find_invalid(self, predictions: np.ndarray) -> str:
        from comp.tables import probability_problem  # imported here: pandas takes 0.4 s

        return probability_problem(predictions)

    def baseline(self, targets: np.ndarray) -> np.ndarray:
        return np.bincount(targets, minlength=len(self.columns)) / len(targets)

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return log_losses(targets, predictions)

    def errors(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return (predictions.argmax(1) != targets).astype(np.float64)

    def blend_objective(self, members: np.ndarray, targets: np.ndarray) -> BlendObjective:
        return log_loss_objective(members[:, np.arange(len(targets)), targets])

    def normalise(self, predictions: np.ndarray) -> np.ndarray:
        return predictions / predictions.sum(-1, keepdims=True)


def log_loss_objective(of_target: np.ndarray) -> BlendObjective:
    """Return the log loss of a mean of members and its gradient, from each member's probability of what is true."""
    floats = np.maximum(of_target.astype(np.float64), MIN_PROBABILITY)

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        blended = np.maximum(weights @ floats, MIN_PROBABILITY)
        return -np.log(blended).mean(), -(floats / blended).mean(1)

    return loss_and_gradient


def class_counts(labels: Sequence[str]) -> Counter[str]:
    """Count labels; an empty one is a UserError."""
    counts = Counter(labels)
    if "" in counts:
        raise UserError(f"{counts['']} images have an empty label; fill it in, or remove the rows")
    return counts
