"""Confident learning: labels that out-of-fold predictions contradict (Northcutt, Jiang and Chuang, 2021).

A class is confidently predicted where its probability reaches the mean that it has on images with its label. An image
has a label issue if a class is confidently predicted, and the most probable of these is not the label. So a model that
is unsure of a class in general need not be sure of the image, and the probabilities need no calibration.

cleanlab, the library of the method, is under the AGPL; the part that is used here has these few lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Suspected labels, the most suspicious first."""

    rows: np.ndarray  # of the predictions
    columns: np.ndarray  # the class that is suggested, or the tag whose value is doubted
    confidence: np.ndarray  # the probability of the suggestion
    margins: np.ndarray  # the probability of the label minus that of the suggestion, which ranks them

    def __len__(self) -> int:
        return len(self.rows)


def find_class_issues(targets: np.ndarray, probabilities: np.ndarray) -> LabelIssues:
    """Return the issues of class labels: `targets` are class indices, `probabilities` (images, classes)."""
    images = np.arange(len(targets))
    thresholds = [
        probabilities[targets == index, index].mean() if (targets == index).any() else np.inf
        for index in range(probabilities.shape[1])
    ]
    confident = np.where(probabilities >= np.array(thresholds), probabilities, -1)
    suggested = confident.argmax(1)
    is_issue = (confident.max(1) >= 0) & (suggested != targets)
    confidence = probabilities[images, suggested]
    return _ranked(images, suggested, confidence, probabilities[images, targets] - confidence, is_issue)


def find_tag_issues(targets: np.ndarray, probabilities: np.ndarray) -> LabelIssues:
    """Return the issues of tags: each tag is a question of its own, answered by `targets` of 0 and 1 (images, tags)."""
    issues = []
    for tag in range(targets.shape[1]):
        answers = np.stack([1 - probabilities[:, tag], probabilities[:, tag]], 1)
        of_tag = find_class_issues(targets[:, tag].astype(int), answers)
        issues.append((of_tag.rows, np.full(len(of_tag), tag), of_tag.confidence, of_tag.margins))
    rows, tags, confidence, margins = (np.concatenate(parts) for parts in zip(*issues, strict=True))
    return _ranked(rows, tags, confidence, margins, np.ones(len(rows), bool))


def _ranked(
    rows: np.ndarray, columns: np.ndarray, confidence: np.ndarray, margins: np.ndarray, chosen: np.ndarray
) -> LabelIssues:
    order = np.flatnonzero(chosen)
    order = order[np.argsort(margins[order], kind="stable")]
    return LabelIssues(rows[order], columns[order], confidence[order], margins[order])
