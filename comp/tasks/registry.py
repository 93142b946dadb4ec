"""The tasks by kind."""

from __future__ import annotations

from collections.abc import Iterable

from comp.records.task import TaskSpec
from comp.tasks.base import Task
from comp.tasks.binary import Binary
from comp.tasks.multilabel import Multilabel
from comp.tasks.ordinal import Ordinal
from comp.tasks.regression import Regression
from comp.tasks.single import SingleLabel

TASKS: dict[str, type[Task]] = {task.kind: task for task in (SingleLabel, Binary, Multilabel, Ordinal, Regression)}


def single_label(classes: Iterable[str]) -> Task:
    """Return the task of one of `classes` per image, in their order."""
    return SingleLabel(TaskSpec("single", tuple(classes)))


def make_task(spec: TaskSpec) -> Task:
    """Return the task that a record describes."""
    return TASKS[spec.kind](spec)
