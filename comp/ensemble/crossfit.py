"""Honest scores of what is learnt on out-of-fold predictions: learnt without a fold, scored on that fold.

Views, temperature and weights are all learnt anew each time. A score of the images they were learnt on is called
naive; the difference is the optimism.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold

from comp.ensemble import blend as blends
from comp.ensemble.blend import Blend, BlendMember
from comp.ensemble.calibrate import fit_temperature
from comp.ensemble.pool import MemberPredictions, Pool
from comp.ensemble.view_selection import choose_views


@dataclass(frozen=True)
class MemberFitOptions:
    """What may be learnt about each member before it is blended."""

    temperature: bool = True
    most_views: int | None = None  # choose so many at most; None: all that were predicted


@dataclass(frozen=True)
class FittedMembers:
    """All members with one voice each, as learnt on `rows`, speaking of every image."""

    rows: np.ndarray
    parts: tuple[BlendMember, ...]
    said: np.ndarray  # (members, images, classes)

    def only(self, names: Sequence[str]) -> FittedMembers:
        keep = [index for index, part in enumerate(self.parts) if part.name in names]
        return FittedMembers(self.rows, tuple(self.parts[index] for index in keep), self.said[keep])


@dataclass(frozen=True)
class FoldFit:
    """The OOF in two: learnt on the voices' rows, scored on these."""

    voices: FittedMembers
    held: np.ndarray

    def only(self, names: Sequence[str]) -> FoldFit:
        return FoldFit(self.voices.only(names), self.held)


def fit_members(pool: Pool, rows: np.ndarray, learning: MemberFitOptions) -> FittedMembers:
    parts = tuple(_fit_member(member, pool.truth, rows, learning) for member in pool.members)
    said = np.stack(
        [
            blends.average_views(select_views(member, part.views)[None], part.temperature).astype(np.float32)
            for member, part in zip(pool.members, parts, strict=True)
        ]
    )
    return FittedMembers(rows, parts, said)


def _fit_member(
    member: MemberPredictions, truth: np.ndarray, rows: np.ndarray, learning: MemberFitOptions
) -> BlendMember:
    views = member.views
    if learning.most_views is not None:
        views = choose_views(views, member.oof[:, rows], truth[rows], learning.most_views)
    temperature = fit_temperature(select_views(member, views)[:, rows], truth[rows]) if learning.temperature else 1.0
    return BlendMember(member.name, views, temperature)


def select_views(member: MemberPredictions, views: Sequence[str]) -> np.ndarray:
    """(views, images, classes)"""
    return member.oof[[member.views.index(view) for view in views]]


def fit_each_fold(pool: Pool, learning: MemberFitOptions) -> list[FoldFit]:
    """Each fold is held out once; of one fold alone, each fifth of its images."""
    if len(np.unique(pool.folds)) > 1:
        held = [pool.folds == fold for fold in np.unique(pool.folds)]
    else:
        split = KFold(min(5, len(pool.truth)), shuffle=True, random_state=0).split(pool.truth)
        held = [np.isin(np.arange(len(pool.truth)), rows) for _, rows in split]
    return [FoldFit(fit_members(pool, np.flatnonzero(~mask), learning), np.flatnonzero(mask)) for mask in held]


def fit_on_rows(method: str, voices: FittedMembers, pool: Pool) -> Blend:
    rows = voices.rows
    return blends.fit_blend(method, voices.parts, voices.said[:, rows], pool.truth[rows], pool.folds[rows], pool.metric)


def predict_in_sample(method: str, voices: FittedMembers, pool: Pool) -> np.ndarray:
    """(images, classes) by what was learnt on the same images."""
    return blends.combine_members(fit_on_rows(method, voices, pool), voices.said)


def predict_cross_fitted(method: str, parted: Sequence[FoldFit], pool: Pool) -> np.ndarray:
    """(images, classes), each image by what was learnt without its fold."""
    result = np.empty((len(pool.images), len(pool.classes)))
    for part in parted:
        result[part.held] = blends.combine_members(
            fit_on_rows(method, part.voices, pool), part.voices.said[:, part.held]
        )
    return result
