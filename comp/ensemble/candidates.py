"""The candidates of a blend, scored and compared: each member alone, the mean of all, and the fitted blend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comp.metrics import find_metric
from comp.stats import compare, resample_scores


@dataclass(frozen=True)
class Candidate:
    """The scores of a member or a blend. All but `naive_score` are cross-fitted."""

    name: str
    score: float
    interval: tuple[float, float]
    naive_score: float  # in-sample: fitted to the images that are scored
    loss: float  # the task's own: the log loss, or the mean squared error of numbers
    ece_before: float | None  # expected calibration error without temperatures; None where nothing is a probability
    ece: float | None  # and with them


def compare_all_pairs(metric: str, targets: np.ndarray, candidates: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Compare every pair of candidates (images, classes).

    Columns: a, b, difference, low, high, p, verdict. The better one is `a`, and the best candidate comes first.
    """
    scores = dict(zip(candidates, resample_scores(metric, targets, list(candidates.values())), strict=True))
    names = sorted(scores, key=lambda name: (-find_metric(metric).sign * scores[name].score, name))
    pairs = [(a, b, compare(scores[a], scores[b])) for index, a in enumerate(names) for b in names[index + 1 :]]
    return pd.DataFrame(
        [[a, b, pair.difference, *pair.interval, pair.p, pair.verdict] for a, b, pair in pairs],
        columns=["a", "b", "difference", "low", "high", "p", "verdict"],
    )
