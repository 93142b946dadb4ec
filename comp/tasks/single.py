"""One of several classes per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from comp.records.task import TaskSpec
from comp.tasks.classes import ClassTask, class_counts


class SingleLabel(ClassTask):
    """One class per image, in the order of the columns."""

    kind = "single"

    @classmethod
    def from_labels(cls, labels: Sequence[str], *, name: str = "label", separator: str = " ") -> Self:
        return cls(TaskSpec("single", tuple(sorted(class_counts(labels), key=_natural))))


def _natural(label: str) -> tuple[bool, int, str]:
    """Return a sort key by which whole numbers come first, in the order of their values."""
    return (False, int(label), label) if label.lstrip("-").isdecimal() else (True, 0, label)
