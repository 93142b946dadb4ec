"""The record of a task: the kind of target, and the columns of its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from comp.records.base import Record
from comp.rows import PoolMethod

TaskKind = Literal["single", "binary", "multilabel", "ordinal", "regression"]


@dataclass(frozen=True)
class TaskSpec(Record):
    """The fields that rebuild a task. Stored in run.json and weights.pt as `task`, unless of plain single labels."""

    kind: TaskKind
    columns: tuple[str, ...]  # of a table of predictions: classes, tags, grades from low to high, or the number's name
    separator: str = " "  # multilabel: between the tags of an image
    at_least_one: bool = False  # multilabel: every training image has a tag
    mean: float = 0.0  # regression: of the training targets, which the network sees standardised
    std: float = 1.0
    low: float | None = None  # regression: the range of the training targets, which predictions are clipped to
    high: float | None = None
    pool: PoolMethod = "mean"  # of the predictions of several images that make a row of a submission

    @property
    def unless_single(self) -> TaskSpec | None:
        """This record, or None for plain single labels: files of these have no key `task`."""
        return None if self == TaskSpec("single", self.columns) else self

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that differ from their default."""
        default = TaskSpec(self.kind, self.columns).__dict__
        return {
            key: value
            for key, value in super().to_dict().items()
            if key in ("kind", "columns") or value != default[key]
        }
