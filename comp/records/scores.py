"""The record of all scores of one table of predictions, as it is stored in metrics.json."""

from __future__ import annotations

from dataclasses import dataclass

from comp.records.base import Record


@dataclass(frozen=True)
class ScoreReport(Record):
    """All scores of one table of predictions. Stored in metrics.json under the key `report`."""

    images: int
    accuracy: float
    balanced_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    macro_specificity: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    log_loss: float
    interval: dict[str, tuple[float, float]]  # 95 %, of accuracy, macro_f1 and log_loss
    per_class: dict[str, dict[str, float]]  # label -> precision, recall, f1, specificity
    confusion: tuple[tuple[int, ...], ...]  # a row per true class, a column per predicted class; empty for many classes
    confused: tuple[tuple[str, str, int], ...] | None = None  # instead: the commonest of (true, predicted, images)
