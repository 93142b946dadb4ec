"""The record of a dataset's source: where its images, labels and ids are, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comp.records.base import Record
from comp.records.task import TaskKind
from comp.rows import PoolMethod


@dataclass(frozen=True)
class DataSource(Record):
    """The keys of a config that say where images, labels and the sample are, below `root`, and what is asked."""

    root: str
    labels: str | None = None  # None: a folder per class
    image: str | None = None
    label: tuple[str, ...] = ()
    separator: str | None = None
    group: str | None = None
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    ids: str | None = None
    row: tuple[str, ...] = ()  # columns that name the row of a submission that an image is of; (): each is its own
    pool: PoolMethod = "mean"  # of the images of a row
    allow_missing: bool = False
    task: TaskKind = "single"
    positive: tuple[str, ...] = ()
    sample: str | None = None  # None: sample_submission.csv or .json
    answer: str | None = None  # None: as the task and the metric say
    metric: str = "accuracy"

    @property
    def unless_folders(self) -> DataSource | None:
        """This record, or None for a folder per class in train/ and test/: the oldest form has no key for it."""
        return None if self == DataSource(self.root) else self

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that differ from their default."""
        default = DataSource(self.root).__dict__
        return {
            key: value for key, value in super().to_dict().items() if key == "root" or value != _jsonable(default[key])
        }


def _jsonable(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
