"""Scores of each class with intervals, and the commonest errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.metrics import PER_CLASS
from comp.metrics.class_counts import count_classes
from comp.stats import wilson_interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class. Intervals are of 95 %; None where nothing is counted."""

    name: str
    images: int
    precision: float
    recall: float
    f1: float
    specificity: float
    intervals: dict[str, Interval | None]


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were taken for another."""

    label: int
    predicted: int
    images: int
    share: float  # of the images of the label


def score_classes(targets: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[ClassScore]:
    """Return the scores of each class, in the order of `names`."""
    counts = count_classes(targets, predicted, len(names))
    values = {name: from_counts(counts) for name, from_counts in PER_CLASS.items()}
    return [
        ClassScore(
            name,
            int(counts.true[index]),
            **{key: float(of_class[index]) for key, of_class in values.items()},
            intervals=_intervals(
                int(counts.true[index]), int(counts.predicted[index]), int(counts.correct[index]), len(targets)
            ),
        )
        for index, name in enumerate(names)
    ]


def _intervals(true: int, predicted: int, correct: int, images: int) -> dict[str, Interval | None]:
    """Return Wilson's intervals. F1 is 2 J / (1 + J) of the share J of hits among what is true or predicted."""
    union = _wilson(correct, true + predicted - correct)
    return {
        "precision": _wilson(correct, predicted),
        "recall": _wilson(correct, true),
        "f1": union and (2 * union[0] / (1 + union[0]), 2 * union[1] / (1 + union[1])),
        "specificity": _wilson(images - true - predicted + correct, images - true),
    }


def _wilson(hits: int, images: int) -> Interval | None:
    return wilson_interval(hits / images, images) if images else None


def commonest_confusions(targets: np.ndarray, predicted: np.ndarray, classes: int, limit: int) -> list[Confusion]:
    """Return at most `limit` pairs of a class and what it was taken for, those with most images first."""
    wrong = np.flatnonzero(targets != predicted)
    pairs, images = np.unique(targets[wrong].astype(np.int64) * classes + predicted[wrong], return_counts=True)
    of_class = np.bincount(targets, minlength=classes)
    return [
        Confusion(
            int(pairs[index] // classes),
            int(pairs[index] % classes),
            int(images[index]),
            float(images[index] / of_class[pairs[index] // classes]),
        )
        for index in np.argsort(-images, kind="stable")[:limit]
    ]
