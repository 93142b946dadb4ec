"""A fitted blend, and how it combines its members' predictions.

Views to member: the mean over fold models and views of the predictions, each with the member's temperature applied.
Members to blend: one of METHODS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from comp.ensemble.calibrate import apply_temperature
from comp.ensemble.greedy import fit_greedy_weights
from comp.ensemble.simplex import fit_simplex_weights
from comp.ensemble.stack import StackModel, fit_stack
from comp.errors import UserError, did_you_mean
from comp.records.blend import BlendMember, BlendSpec, StackWeights
from comp.rows import Rows
from comp.tasks import Task, make_task, single_label

METHODS = ("mean", "geometric", "vote", "greedy", "weights", "stack")
WEIGHT_TOLERANCE = 1e-6  # of a sum of float64; the weights of 200 members are off by 1e-14
FIXED_METHODS = ("mean", "geometric", "vote")  # these methods have no weights to fit


@dataclass(frozen=True)
class Blend:
    """A method, and what was fitted for each member."""

    task: Task
    method: str
    members: tuple[BlendMember, ...]  # in the order of their names
    stack: StackModel | None = None
    decision: tuple[float, ...] = ()  # thresholds or cut points, where the metric needs them

    def without_zero_weights(self) -> Blend:
        """Return the blend without zero-weight members, which need no predictions."""
        return replace(self, members=tuple(member for member in self.members if member.weight != 0))

    def to_spec(self) -> BlendSpec:
        """Return the record that rebuilds this blend."""
        stack = None if self.stack is None else _to_record(self.stack)
        return BlendSpec(self.method, self.members, stack, self.decision, self.task.spec.unless_single)

    @classmethod
    def from_spec(cls, spec: BlendSpec, classes: Sequence[str], source: Path | str = "the blend") -> Blend:
        """Return the blend that a record describes; a UserError names `source` if no fit can have made the record.

        `classes` are the columns of its predictions, for a record of single labels.
        """
        if problem := _spec_problem(spec):
            raise UserError(f"{source}: {problem}; restore it, or make the submission again with infer.py")
        task = single_label(classes) if spec.task is None else make_task(spec.task)
        return cls(task, spec.method, spec.parts, None if spec.stack is None else _to_model(spec.stack), spec.decision)


def _spec_problem(spec: BlendSpec) -> str | None:
    """Return what is wrong with a record that was edited, or None."""
    if spec.method not in METHODS:
        return f"there is no blend {spec.method!r}{did_you_mean(spec.method, METHODS)}"
    names = [part.name for part in spec.parts]
    if len(set(names)) != len(names) or not names:
        return f"the blend has the members {', '.join(names) or 'none'}, and needs different ones"
    for part in spec.parts:
        if not part.views or len(set(part.views)) != len(part.views):
            return f"the member {part.name} has the views {', '.join(part.views) or 'none'}, and needs different ones"
        if not 0 < part.temperature < math.inf:
            return f"the member {part.name} has the temperature {part.temperature:g}, which must be above 0"
    if spec.method == "stack":
        stack = spec.stack or StackWeights((), ())
        rows, columns = len(stack.intercepts), len(stack.intercepts) * len(names)
        if not rows or [len(row) for row in stack.coefficients] != [columns] * rows:
            return f"the stack needs a row of {columns} coefficients for each of its {rows} intercepts"
        return None
    weights = [part.weight for part in spec.parts if part.weight is not None and part.weight >= 0]
    if len(weights) != len(names) or abs(sum(weights) - 1) > WEIGHT_TOLERANCE:
        shown = ", ".join("none" if part.weight is None else f"{part.weight:g}" for part in spec.parts)
        return f"the members have the weights {shown}, which must be 0 or more and sum to 1"
    return None


def _to_record(stack: StackModel) -> StackWeights:
    return StackWeights(tuple(map(tuple, stack.coefficients.tolist())), tuple(stack.intercepts.tolist()))


def _to_model(stack: StackWeights) -> StackModel:
    return StackModel(np.array(stack.coefficients), np.array(stack.intercepts))


def fit_blend(
    task: Task,
    method: str,
    members: Sequence[BlendMember],
    predictions: np.ndarray,
    targets: np.ndarray,
    folds: np.ndarray,
    metric: str,
) -> Blend:
    """Fit a blend, and its decision, to predictions (members, images, columns) of images with known targets."""
    if method == "stack":
        blend = Blend(task, method, tuple(members), fit_stack(predictions, targets, folds))
    else:
        weights = _fit_weights(task, method, predictions, targets, metric)
        weighted = [replace(member, weight=float(weight)) for member, weight in zip(members, weights, strict=True)]
        blend = Blend(task, method, tuple(weighted))
    return replace(blend, decision=task.fit_decision(targets, combine_members(blend, predictions), metric))


def _fit_weights(task: Task, method: str, predictions: np.ndarray, targets: np.ndarray, metric: str) -> np.ndarray:
    if method == "greedy":
        return fit_greedy_weights(task, predictions, targets, metric)
    if method == "weights":
        return fit_simplex_weights(task.blend_objective(predictions, targets), len(predictions))
    return np.full(len(predictions), 1 / len(predictions))


def apply_blend(blend: Blend, view_predictions: Sequence[np.ndarray], rows: Rows) -> np.ndarray:
    """Return the blended predictions (rows of the submission, columns), decided.

    `view_predictions` has an array (fold models, views, images, columns) per member, in the order of the blend's
    members and of their views. Its images are pooled to rows first, as those were that the blend was fitted to. It is
    summed as float64 in one memory layout: sums of float32 differed in the ninth digit where tables had been laid out
    by column, and a submission must be reproducible to the byte.
    """
    members = [
        average_views(blend.task, np.ascontiguousarray(blend.task.pool(array, rows), np.float64), member.temperature)
        for member, array in zip(blend.members, view_predictions, strict=True)
    ]
    return blend.task.decide(combine_members(blend, np.stack(members)), blend.decision)


def average_views(task: Task, view_predictions: np.ndarray, temperature: float) -> np.ndarray:
    """Return calibrated predictions (images, columns), averaged over (fold models, views, images, columns)."""
    exclusive = None if temperature == 1 else task.to_exclusive(view_predictions)
    if exclusive is not None:
        view_predictions = task.from_exclusive(apply_temperature(exclusive, temperature))
    return view_predictions.mean((0, 1), dtype=np.float64)


def combine_members(blend: Blend, predictions: np.ndarray) -> np.ndarray:
    """Return the blended predictions (images, columns) of predictions (members, images, columns), not yet decided."""
    if blend.stack is not None:
        return blend.stack(predictions)
    if blend.method == "vote":
        return _majority_vote(predictions)
    weights, task = np.array([member.weight for member in blend.members]), blend.task
    if blend.method == "geometric":
        return task.from_exclusive(_geometric_mean(task.to_exclusive(predictions), weights))
    return task.normalise(np.tensordot(weights, predictions, 1))


def _geometric_mean(probabilities: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    assert probabilities is not None, "only predictions that are probabilities have this method"
    logs = np.tensordot(weights, np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)), 1)
    raised = np.exp(logs - logs.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def _majority_vote(probabilities: np.ndarray) -> np.ndarray:
    """Return shares of votes (images, classes).

    Among the classes with most votes, the higher mean probability wins, then the class that the first member by name
    votes for. The winner gets half a vote more, so that its share is the largest.
    """
    members, images, classes = probabilities.shape
    predicted = probabilities.argmax(2)
    votes = np.stack([(predicted == index).sum(0) for index in range(classes)], 1).astype(np.float64)
    mean = probabilities.mean(0, dtype=np.float64)
    leading_mean = np.where(votes == votes.max(1, keepdims=True), mean, -1)
    leading = leading_mean >= leading_mean.max(1, keepdims=True)
    votes_for_leader = np.take_along_axis(leading, predicted.T, 1)  # (images, members)
    winner = predicted.T[np.arange(images), votes_for_leader.argmax(1)]
    votes[np.arange(images), winner] += 0.5
    return votes / (members + 0.5)
