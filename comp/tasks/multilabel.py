"""Any number of tags per image: a probability for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from comp.errors import UserError, did_you_mean
from comp.records.task import TaskSpec
from comp.tasks.base import BlendObjective, Task
from comp.tasks.classes import MIN_PROBABILITY, log_loss_objective
from comp.tasks.thresholds import move_threshold

if TYPE_CHECKING:
    import torch

    from comp.schema import Loss
    from comp.tasks.losses import LossFunction


class Multilabel(Task):
    """Tags that are true or not, each on its own."""

    kind = "multilabel"
    has_decision = True
    form = "tags"
    default_metric = "micro_f1"
    blend_methods = ("mean", "geometric", "greedy", "weights")

    @classmethod
    def from_labels(cls, labels: Sequence[str], *, name: str = "label", separator: str = " ") -> Self:
        tags = {tag for label in labels for tag in split_tags(label, separator)}
        if not tags:
            raise UserError(f"no image has a tag in {name}; check data.label and data.separator")
        at_least_one = all(split_tags(label, separator) for label in labels)
        return cls(TaskSpec("multilabel", tuple(sorted(tags)), separator=separator, at_least_one=at_least_one))

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        indices = {tag: index for index, tag in enumerate(self.columns)}
        targets = np.zeros((len(labels), len(indices)), np.int8)
        for row, label in enumerate(labels):
            for tag in split_tags(label, self.spec.separator):
                if tag not in indices:
                    raise UserError(f"the tag {tag!r} is not known{did_you_mean(tag, self.columns)}")
                targets[row, indices[tag]] = 1
        return targets

    def counts(self, targets: np.ndarray) -> dict[str, int]:
        return dict(zip(self.columns, targets.sum(0).tolist(), strict=True))

    def strata(self, labels: Sequence[str]) -> np.ndarray:
        return self.encode(labels)

    def network_targets(self, targets: np.ndarray) -> np.ndarray:
        return targets.astype(np.float32)

    def make_loss(self, options: Loss, targets: np.ndarray, device: torch.device) -> LossFunction:
        from comp.tasks.losses import binary_loss

        return binary_loss(options)

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.sigmoid()

    def find_invalid(self, predictions: np.ndarray) -> str:
        inside = (predictions >= 0) & (predictions <= 1)  # neither is true of NaN
        return "" if inside.all() else "a probability that is not between 0 and 1"

    def baseline(self, targets: np.ndarray) -> np.ndarray:
        return targets.mean(0)

    def losses(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        of_target = np.where(targets == 1, predictions, 1 - predictions)
        return -np.log(np.clip(of_target.astype(np.float64), MIN_PROBABILITY, 1)).mean(1)

    def errors(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return ((predictions >= 0.5) != (targets == 1)).mean(1)

    def blend_objective(self, members: np.ndarray, targets: np.ndarray) -> BlendObjective:
        of_target = np.where(targets == 1, members, 1 - members)
        return log_loss_objective(of_target.reshape(len(members), -1))

    def to_exclusive(self, predictions: np.ndarray) -> np.ndarray:
        """Return a row per image and tag: the probabilities of no and of yes."""
        flat = predictions.reshape(*predictions.shape[:-2], -1)
        return np.stack([1 - flat, flat], -1)

    def from_exclusive(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities[..., 1].reshape(*probabilities.shape[:-2], -1, len(self.columns))

    def exclusive_targets(self, targets: np.ndarray) -> np.ndarray:
        return targets.ravel().astype(np.int64)

    def fit_decision(self, targets: np.ndarray, predictions: np.ndarray, metric: str) -> tuple[float, ...]:
        """Return the probability from which a tag is given: one for all tags, as rare tags have too few images."""
        return self.fit_threshold(targets, predictions, metric)

    def decide(self, predictions: np.ndarray, decision: tuple[float, ...]) -> np.ndarray:
        """Return probabilities with the threshold at 0.5. An image without a tag gets its most probable one, where
        every training image has a tag."""
        if not decision:
            return predictions
        moved = move_threshold(predictions, decision[0])
        if self.spec.at_least_one:
            rows = np.arange(len(moved))
            best = moved.argmax(1)
            moved[rows, best] = np.maximum(moved[rows, best], 0.5)
        return moved


def split_tags(label: str, separator: str) -> list[str]:
    """Return the tags of a label."""
    return [tag.strip() for tag in label.split(separator) if tag.strip()]
