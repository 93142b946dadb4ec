"""Pools of synthetic members whose best blend is known."""

from __future__ import annotations

import numpy as np

from comp.ensemble.blend import Blend
from comp.ensemble.crossfit import MemberFitOptions, fit_each_fold, fit_members, fit_on_rows, predict_cross_fitted
from comp.ensemble.pool import MemberPredictions, Pool
from comp.metrics import score
from comp.tasks import single_label

CLASSES = ("a", "b", "c", "d")
TASK = single_label(CLASSES)
IMAGES = 240
VIEWS = ("identity", "hflip", "vflip")
DEFAULT_OPTIONS = MemberFitOptions()


def make_targets(images: int = IMAGES) -> np.ndarray:
    """Return the class index of each image."""
    return np.arange(images) % len(CLASSES)


def make_probabilities(seed: int, skill: float, views: int = 1, images: int = IMAGES) -> np.ndarray:
    """Return (views, images, classes) of a member that predicts noise (skill 0) or leans towards the targets."""
    logits = np.random.default_rng(seed).normal(size=(views, images, len(CLASSES)))
    logits[:, np.arange(images), make_targets(images)] += skill
    raised = np.exp(logits)
    return (raised / raised.sum(-1, keepdims=True)).astype(np.float32)


def sharpen(probabilities: np.ndarray) -> np.ndarray:
    """Return overconfident probabilities, for which a mean of several members gains most."""
    return probabilities**4 / (probabilities**4).sum(-1, keepdims=True)


def make_pool(metric: str = "accuracy", images: int = IMAGES, **members: np.ndarray) -> Pool:
    """Return a pool of the members' probabilities (views, images, classes), in four folds."""
    return Pool(
        TASK,
        metric,
        tuple(f"img_{index:04}" for index in range(images)),
        tuple(CLASSES[index] for index in make_targets(images)),
        np.random.default_rng(9).permutation(images) % 4,
        tuple(
            MemberPredictions(name, VIEWS[: len(probabilities)], probabilities)
            for name, probabilities in sorted(members.items())
        ),
    )


def three_members(metric: str = "accuracy") -> Pool:
    return make_pool(
        metric, anna=make_probabilities(1, 1.5), bert=make_probabilities(2, 1.0), carl=make_probabilities(3, 2.0)
    )


def cross_fitted(pool: Pool, method: str, options: MemberFitOptions = DEFAULT_OPTIONS) -> np.ndarray:
    return predict_cross_fitted(method, fit_each_fold(pool, options), pool)


def fit_on_all(pool: Pool, method: str, options: MemberFitOptions = DEFAULT_OPTIONS) -> Blend:
    return fit_on_rows(method, fit_members(pool, np.arange(len(pool.images)), options), pool)


def accuracy(pool: Pool, probabilities: np.ndarray) -> float:
    return score("accuracy", pool.targets, probabilities)


def stack_members(*members: list[list[float]]) -> np.ndarray:
    """Return (members, images, classes) of a table per member."""
    return np.array(members, np.float32)
