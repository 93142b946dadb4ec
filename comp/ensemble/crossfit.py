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
from comp.ensemble.blend import Blend, Part
from comp.ensemble.calibrate import fit_temperature
from comp.ensemble.pool import Member, Pool
from comp.ensemble.views import choose_views


@dataclass(frozen=True)
class Learning:
    """What may be learnt about each member before it is blended."""
    temperature: bool = True
    most_views: int | None = None      # choose so many at most; None: all that were predicted


@dataclass(frozen=True)
class Voices:
    """All members with one voice each, as learnt on `rows`, speaking of every image."""
    rows: np.ndarray
    parts: tuple[Part, ...]
    said: np.ndarray                   # (members, images, classes)

    def only(self, names: Sequence[str]) -> Voices:
        keep = [index for index, part in enumerate(self.parts) if part.name in names]
        return Voices(self.rows, tuple(self.parts[index] for index in keep), self.said[keep])


@dataclass(frozen=True)
class Parted:
    """The OOF in two: learnt on the voices' rows, scored on these."""
    voices: Voices
    held: np.ndarray

    def only(self, names: Sequence[str]) -> Parted:
        return Parted(self.voices.only(names), self.held)


def hear(pool: Pool, rows: np.ndarray, learning: Learning) -> Voices:
    parts = tuple(_learn_part(member, pool.truth, rows, learning) for member in pool.members)
    said = np.stack([blends.voice(views_of(member, part.views)[None], part.temperature).astype(np.float32)
                     for member, part in zip(pool.members, parts, strict=True)])
    return Voices(rows, parts, said)


def _learn_part(member: Member, truth: np.ndarray, rows: np.ndarray, learning: Learning) -> Part:
    views = member.views
    if learning.most_views is not None:
        views = choose_views(views, member.oof[:, rows], truth[rows], learning.most_views)
    temperature = fit_temperature(views_of(member, views)[:, rows], truth[rows]) if learning.temperature else 1.0
    return Part(member.name, views, temperature)


def views_of(member: Member, views: Sequence[str]) -> np.ndarray:
    """(views, images, classes)"""
    return member.oof[[member.views.index(view) for view in views]]


def part_by_fold(pool: Pool, learning: Learning) -> list[Parted]:
    """Each fold is held out once; of one fold alone, each fifth of its images."""
    if len(np.unique(pool.folds)) > 1:
        held = [pool.folds == fold for fold in np.unique(pool.folds)]
    else:
        split = KFold(min(5, len(pool.truth)), shuffle=True, random_state=0).split(pool.truth)
        held = [np.isin(np.arange(len(pool.truth)), rows) for _, rows in split]
    return [Parted(hear(pool, np.flatnonzero(~mask), learning), np.flatnonzero(mask)) for mask in held]


def learn(method: str, voices: Voices, pool: Pool) -> Blend:
    rows = voices.rows
    return blends.learn(method, voices.parts, voices.said[:, rows], pool.truth[rows], pool.folds[rows], pool.metric)


def naive(method: str, voices: Voices, pool: Pool) -> np.ndarray:
    """(images, classes) by what was learnt on the same images."""
    return blends.combine(learn(method, voices, pool), voices.said)


def cross_fitted(method: str, parted: Sequence[Parted], pool: Pool) -> np.ndarray:
    """(images, classes), each image by what was learnt without its fold."""
    result = np.empty((len(pool.images), len(pool.classes)))
    for part in parted:
        result[part.held] = blends.combine(learn(method, part.voices, pool), part.voices.said[:, part.held])
    return result
