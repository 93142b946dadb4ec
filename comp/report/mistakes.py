"""The mistakes of out-of-fold predictions, the most confident first, for each kind of task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comp.report.oof import OofPredictions


@dataclass(frozen=True)
class Mistake:
    """An answer that differs from the label: of an image, or of one of its tags."""

    row: int  # of the predictions
    column: int  # that is explained: the class that was answered, the tag, or the number
    label: str
    answer: str
    confidence: float | None  # None: of a number
    error: float  # what mistakes are ranked by


def find_mistakes(oof: OofPredictions) -> list[Mistake]:
    """Return all mistakes, the most confident first; of numbers all images, the largest error first."""
    names, predictions = oof.task.columns, oof.predictions
    if oof.task.form == "numbers":
        mistakes = [
            Mistake(row, 0, label, f"{value:.4g}", None, abs(value - target))
            for row, (label, value, target) in enumerate(zip(oof.labels, predictions[:, 0], oof.targets, strict=True))
        ]
    elif oof.task.form == "tags":
        wrong = np.argwhere((predictions >= 0.5) != (oof.targets == 1))
        mistakes = [
            Mistake(
                row,
                tag,
                _answer(names[tag], oof.targets[row, tag]),
                _answer(names[tag], value >= 0.5),
                confidence,
                confidence,
            )
            for row, tag in wrong.tolist()
            for value in [float(predictions[row, tag])]
            for confidence in [max(value, 1 - value)]
        ]
    else:
        mistakes = [
            Mistake(row, oof.predicted[row], oof.labels[row], names[oof.predicted[row]], confidence, confidence)
            for row in np.flatnonzero(oof.is_wrong).tolist()
            for confidence in [float(predictions[row].max())]
        ]
    return sorted(mistakes, key=lambda mistake: -mistake.error)


def _answer(tag: str, is_set: bool) -> str:
    return tag if is_set else f"not {tag}"
