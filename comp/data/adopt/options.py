"""The user's choices, the conclusions, and the error that puts an open question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from comp.data.scan import Dataset
from comp.errors import UserError, shorten
from comp.records.source import DataSource
from comp.rows import PoolMethod

NONE = "none"  # the value of --group, --separator, --ids and --row that says: there is none


@dataclass(frozen=True)
class AdoptOptions:
    """The readings that the user has chosen; None or empty: to be found out."""

    labels: str | None = None
    image: str | None = None
    label: tuple[str, ...] = ()
    separator: str | None = None
    group: str | None = None
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    ids: str | None = None
    row: tuple[str, ...] = ()
    pool: PoolMethod | None = None
    allow_missing: bool = False
    task: str | None = None
    positive: tuple[str, ...] = ()
    metric: str | None = None
    sample: str | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Finding:
    """A line of the table that a person checks: a key, the conclusion, and the evidence for it."""

    key: str
    value: str
    evidence: str


Findings = list[Finding]


@dataclass(frozen=True)
class Conclusion:
    """All that a config needs to enter a competition."""

    source: DataSource
    loss: str | None  # None: the default
    size: int
    dataset: Dataset  # what `scan` finds with this source


def ambiguous(question: str, *choices: str) -> UserError:
    """Return the error for a question with several answers; each choice is what to type."""
    return UserError(f"{question}; add {' or '.join(choices)}")


def listed(values: Iterable[object], limit: int = 5) -> str:
    """Return the first values as text, and how many are not shown."""
    texts = [shorten(value, 40) for value in values]
    rest = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + rest


def quoted(value: str) -> str:
    """Return a value as it is typed in a shell."""
    import shlex

    return shlex.quote(value)
