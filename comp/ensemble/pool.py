"""The out-of-fold predictions of all members for the same images, joined by image id into arrays of one order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from comp.errors import UserError
from comp.tasks import Task


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """The out-of-fold probabilities of one run: each image by the fold's model that was not trained on it."""

    name: str
    views: tuple[str, ...]
    oof: np.ndarray  # (views, images, columns)


@dataclass(frozen=True, eq=False)
class Pool:
    """The predictions that a blend is fitted to.

    Images are sorted by id and members by name, so that the order of rows and arguments has no effect. Where several
    images make a row of a submission, each of `images` is a row.
    """

    task: Task
    metric: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    folds: np.ndarray  # fold of each image
    members: tuple[MemberPredictions, ...]

    @cached_property
    def targets(self) -> np.ndarray:
        """The target of each image."""
        return self.task.encode(self.labels)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of predictions."""
        return self.task.columns


def build_pool(task: Task, metric: str, tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> Pool:
    """Join OOF tables (indexed by image, with label and fold), given by member and view."""
    names = sorted(tables)
    by_row = {name: {view: task.by_row(table) for view, table in tables[name].items()} for name in names}
    first = next(iter(by_row[names[0]].values())).sort_index()
    for name in names:
        for table in by_row[name].values():
            _check_same_images(names[0], first, name, table)
    members = tuple(
        MemberPredictions(name, tuple(by_row[name]), stack_tables(by_row[name].values(), first.index, task.columns))
        for name in names
    )
    return Pool(task, metric, tuple(first.index), tuple(first["label"]), first["fold"].to_numpy(), members)


def stack_tables(tables: Iterable[pd.DataFrame], images: Iterable[str], columns: Sequence[str]) -> np.ndarray:
    """Return the predictions of tables indexed by image, (tables, images, columns), in the order given."""
    rows, names = list(images), list(columns)
    return np.stack([table.loc[rows, names].to_numpy(np.float32) for table in tables])


def _check_same_images(first_name: str, first: pd.DataFrame, name: str, table: pd.DataFrame) -> None:
    if set(first.index) != set(table.index):
        raise UserError(
            f"members predict different images ({first_name}: {len(first)} in fold {_folds(first)}; {name}: "
            f"{len(table)} in fold {_folds(table)}); train the same folds of each"
        )
    same_order = table.loc[first.index]
    for column in ("fold", "label"):
        differs = first.index[(first[column] != same_order[column]).to_numpy()]
        if len(differs):
            image = differs[0]
            raise UserError(
                f"{name} has another {column} of {image} than {first_name} ({same_order.loc[image, column]} "
                f"and {first.loc[image, column]}); blend them separately"
            )


def _folds(table: pd.DataFrame) -> str:
    return ",".join(map(str, sorted(table["fold"].unique())))


def drop_duplicate_members(pool: Pool) -> tuple[Pool, dict[str, str]]:
    """Drop members whose predictions equal another member's, so that a copy does not count twice.

    Return the pool and `{copy: original}`. Two members with the same weights would otherwise have double the weight
    in a mean, or a vote too many.
    """
    originals: dict[bytes, str] = {}
    copies: dict[str, str] = {}
    for member in pool.members:
        original = originals.setdefault(member.oof.tobytes(), member.name)
        if original != member.name and len(pool.images):
            copies[member.name] = original
    return replace(pool, members=tuple(member for member in pool.members if member.name not in copies)), copies
