"""The most confused pairs as pictures: images that were taken for another class, between examples of both classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comp.report.class_scores import Confusion, commonest_confusions
from comp.report.oof import OofPredictions
from comp.report.pictures import Pictures
from comp.report.section import Section
from comp.report.source import Source

MAX_PAIRS = 6
MAX_WRONG, MAX_EXAMPLES = 6, 3  # pictures of a pair, and of each of its classes


@dataclass(frozen=True)
class Picture:
    """An image of the page, and the confidence of its answer."""

    image: str
    uri: str
    confidence: float | None  # None: thresholds have moved it


@dataclass(frozen=True)
class ConfusedPair:
    """A class that was taken for another, with pictures."""

    label: str
    predicted: str
    confusion: Confusion
    wrong: list[Picture]
    of_label: list[Picture]  # correct examples, the most confident first
    of_predicted: list[Picture]


def build(source: Source) -> Section | None:
    oof = source.oof
    if oof is None or not oof.has_classes or not source.pictures.paths or not oof.is_wrong.any():
        return None
    confusions = commonest_confusions(oof.targets, oof.predicted, len(oof.task.columns), MAX_PAIRS)
    pairs = [_make_pair(oof, source.pictures, confusion) for confusion in confusions]
    return Section("Confused pairs", "confused", "confused.html", {"pairs": pairs, "images": len(oof.images)})


def _make_pair(oof: OofPredictions, pictures: Pictures, confusion: Confusion) -> ConfusedPair:
    names, is_right = oof.task.columns, ~oof.is_wrong
    wrong = (oof.targets == confusion.label) & (oof.predicted == confusion.predicted)
    return ConfusedPair(
        names[confusion.label],
        names[confusion.predicted],
        confusion,
        _most_confident(oof, pictures, wrong, MAX_WRONG),
        _most_confident(oof, pictures, is_right & (oof.targets == confusion.label), MAX_EXAMPLES),
        _most_confident(oof, pictures, is_right & (oof.targets == confusion.predicted), MAX_EXAMPLES),
    )


def _most_confident(oof: OofPredictions, pictures: Pictures, chosen: np.ndarray, limit: int) -> list[Picture]:
    confidence = oof.predictions.max(1)
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-confidence[rows], kind="stable")][:limit]
    return [
        Picture(oof.images[row], pictures.data_uri(oof.images[row]), None if oof.is_decided else float(confidence[row]))
        for row in rows
    ]
