"""Candidates and tables of members, as the diagnostics, the text tables and the plots get them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from comp.ensemble.diagnostics import member_table
from comp.stats import Comparison

CLASSES = 4
LONG_NAME = "papers/gupta/full+train.epochs=60+augment.policy=strong+optim.lr=0.0003"


def predict(correct: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return confident probabilities: of the target where `correct`, of the next class elsewhere."""
    return np.eye(CLASSES)[np.where(correct, targets, (targets + 1) % CLASSES)] * 0.8 + 0.05


def make_candidates(count: int, images: int = 400) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return targets, and candidates that are correct on 80 % of the images."""
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=images)
    return targets, {f"trial_{index:04d}": predict(rng.random(images) < 0.8, targets) for index in range(count)}


def make_member_table(count: int, weights: bool = True, fitted: bool = True, gains: bool = True) -> pd.DataFrame:
    """Return a table of members, the last with a long name; without weights, resampled weights or gains."""
    names = [f"trial_{index:04d}" for index in range(count - 1)] + [LONG_NAME]
    comparisons = {
        name: Comparison(0.004 - 0.002 * index, (0.001, 0.006), 0.01 + 0.05 * index) for index, name in enumerate(names)
    }
    member_weights = np.arange(count) / max(1, count * (count - 1) / 2)
    resampled = np.abs(np.random.default_rng(0).normal(size=(50, count)) * member_weights)
    return member_table(
        names,
        list(member_weights) if weights else [None] * count,
        resampled if weights and fitted else None,
        comparisons if gains else {},
        dict.fromkeys(names, 2.0),
    )
