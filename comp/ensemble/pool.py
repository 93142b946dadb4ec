"""Members side by side: what each says of the same images, joined by image id into arrays of one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comp.errors import UserError


@dataclass(frozen=True)
class MemberPredictions:
    """Probabilities by one run, view by view. Test predictions may come later than those out of fold."""

    name: str
    views: tuple[str, ...]
    oof: np.ndarray  # (views, images, classes): each image by the fold's model that never saw it
    test: np.ndarray | None = None  # (fold models, views, test images, classes)


@dataclass(frozen=True)
class Pool:
    """Images by id and members by name, so that no order in which they came can change anything."""

    classes: tuple[str, ...]
    metric: str
    images: tuple[str, ...]
    truth: np.ndarray  # class number of each image
    folds: np.ndarray  # fold of each image
    members: tuple[MemberPredictions, ...]


def build_pool(classes: Sequence[str], metric: str, spoken: Mapping[str, Mapping[str, pd.DataFrame]]) -> Pool:
    """Of OOF tables (indexed by image, with label and fold) by member and view."""
    names = sorted(spoken)
    first = next(iter(spoken[names[0]].values())).sort_index()
    for name in names:
        for table in spoken[name].values():
            _check_same_images(names[0], first, name, table)
    numbers = {label: number for number, label in enumerate(classes)}
    members = tuple(
        MemberPredictions(name, tuple(spoken[name]), stack_tables(spoken[name].values(), first.index, classes))
        for name in names
    )
    return Pool(
        tuple(classes),
        metric,
        tuple(first.index),
        first["label"].map(numbers).to_numpy(),
        first["fold"].to_numpy(),
        members,
    )


def stack_tables(tables: Sequence[pd.DataFrame], images: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(tables, images, classes)"""
    return np.stack([table.loc[list(images), list(classes)].to_numpy(np.float32) for table in tables])


def _check_same_images(name: str, first: pd.DataFrame, other: str, table: pd.DataFrame) -> None:
    if set(first.index) != set(table.index):
        raise UserError(
            f"members predict different images ({name}: {len(first)} in fold {_folds(first)}; {other}: "
            f"{len(table)} in fold {_folds(table)}); train the same folds of each"
        )
    same = table.loc[first.index]
    for column, what in (("fold", "fold"), ("label", "label")):
        differs = first.index[(first[column] != same[column]).to_numpy()]
        if len(differs):
            raise UserError(
                f"{other} has another {what} of {differs[0]} than {name} ({same.loc[differs[0], column]} "
                f"and {first.loc[differs[0], column]}); blend them apart"
            )


def _folds(table: pd.DataFrame) -> str:
    return ",".join(map(str, sorted(table["fold"].unique())))


def drop_duplicate_members(pool: Pool) -> tuple[Pool, dict[str, str]]:
    """One opinion counts once: without members that say of every image what another says, and whose copies they are.
    Two with the same weights would otherwise have double the weight in a mean, or a vote too many."""
    seen: dict[bytes, str] = {}
    copies: dict[str, str] = {}
    for member in pool.members:
        original = seen.setdefault(member.oof.tobytes(), member.name)
        if original != member.name and len(pool.images):
            copies[member.name] = original
    return replace(pool, members=tuple(m for m in pool.members if m.name not in copies)), copies
