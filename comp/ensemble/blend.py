"""What was learnt about members, as plain data, and what it makes of their predictions.

voice   one member: the mean over fold models and views of its probabilities, each with its temperature applied
blend   many voices to one, by one of METHODS
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from comp.ensemble.calibrate import apply_temperature
from comp.ensemble.greedy import fit_greedy_weights
from comp.ensemble.simplex import fit_simplex_weights
from comp.ensemble.stack import StackModel, fit_stack

METHODS = ("mean", "geometric", "vote", "greedy", "weights", "stack")
FIXED_METHODS = ("mean", "geometric", "vote")  # nothing about them is learnt


@dataclass(frozen=True)
class BlendMember:
    """A member in a blend."""

    name: str
    views: tuple[str, ...]
    temperature: float = 1.0
    weight: float | None = None  # None: a stack has more than one number for it


@dataclass(frozen=True)
class Blend:
    method: str
    parts: tuple[BlendMember, ...]  # in the order of their names
    stack: StackModel | None = None

    def trimmed(self) -> Blend:
        """Without members that have no weight: nobody need ask them."""
        return replace(self, parts=tuple(part for part in self.parts if part.weight != 0))

    def to_note(self) -> dict[str, Any]:
        learnt = self.stack and {
            "coefficients": self.stack.coefficients.tolist(),
            "intercepts": self.stack.intercepts.tolist(),
        }
        return {
            "method": self.method,
            "parts": [{**asdict(part), "views": list(part.views)} for part in self.parts],
            "stack": learnt,
        }

    @classmethod
    def from_note(cls, note: dict[str, Any]) -> Blend:
        parts = tuple(BlendMember(**{**part, "views": tuple(part["views"])}) for part in note["parts"])
        learnt = note["stack"] and StackModel(*(np.array(note["stack"][key]) for key in ("coefficients", "intercepts")))
        return cls(note["method"], parts, learnt)


def fit_blend(
    method: str, parts: Sequence[BlendMember], said: np.ndarray, truth: np.ndarray, folds: np.ndarray, metric: str
) -> Blend:
    """From voices (members, images, classes) of images whose classes and folds are known."""
    if method == "stack":
        return Blend(method, tuple(parts), fit_stack(said, truth, folds))
    if method == "greedy":
        weights = fit_greedy_weights(said, truth, metric)
    elif method == "weights":
        weights = fit_simplex_weights(said, truth)
    else:
        weights = np.full(len(parts), 1 / len(parts))
    return Blend(
        method,
        tuple(
            BlendMember(part.name, part.views, part.temperature, float(weight))
            for part, weight in zip(parts, weights, strict=True)
        ),
    )


def apply_blend(blend: Blend, spoken: Sequence[np.ndarray]) -> np.ndarray:
    """(images, classes), of arrays (fold models, views, images, classes) in the order of the blend's parts and of
    their views. In doubles of one layout: sums of floats came out otherwise in the ninth digit where tables had been
    laid out by column, and a submission is to be made again to the byte."""
    return combine_members(
        blend,
        np.stack(
            [
                average_views(np.ascontiguousarray(array, np.float64), part.temperature)
                for part, array in zip(blend.parts, spoken, strict=True)
            ]
        ),
    )


def average_views(spoken: np.ndarray, temperature: float) -> np.ndarray:
    """(images, classes) of (fold models, views, images, classes)."""
    return apply_temperature(spoken, temperature).mean((0, 1), dtype=np.float64)


def combine_members(blend: Blend, said: np.ndarray) -> np.ndarray:
    """(images, classes) of voices (members, images, classes)."""
    if blend.method == "stack":
        return blend.stack(said)
    if blend.method == "vote":
        return _majority_vote(said)
    weights = np.array([part.weight for part in blend.parts])
    if blend.method == "geometric":
        logs = np.tensordot(weights, np.log(np.maximum(said, np.finfo(np.float32).tiny)), 1)
        said, weights = np.exp(logs - logs.max(1, keepdims=True))[None], np.ones(1)
    blended = np.tensordot(weights, said, 1)
    return blended / blended.sum(1, keepdims=True)


def _majority_vote(said: np.ndarray) -> np.ndarray:
    """Shares of votes. Among the classes with most, the higher mean probability wins, then the vote of the member
    whose name comes first; the winner has half a vote more than it got, so that it is the largest."""
    members, images, classes = said.shape
    called = said.argmax(2)
    votes = np.stack([(called == number).sum(0) for number in range(classes)], 1).astype(np.float64)
    mean = said.mean(0, dtype=np.float64)
    leading = votes == votes.max(1, keepdims=True)
    likely = np.where(leading, mean, -1)
    leading &= likely >= likely.max(1, keepdims=True)
    backed = np.take_along_axis(leading, called.T, 1)  # (images, members): did this member call one of them?
    winner = called.T[np.arange(images), backed.argmax(1)]
    votes[np.arange(images), winner] += 0.5
    return votes / (members + 0.5)
