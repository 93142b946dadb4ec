"""A row of a paper's table, what it was trained as, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from comp.schema import Config
from comp.study.papers.measure import Measured
from comp.study.papers.rows import Row
from comp.zoo.papers import Counted, Entry, count


@dataclass(frozen=True)
class Line:
    row: Row
    own: Config                     # as the paper has it
    config: Config                  # under the protocol used, of the first seed
    measured: Measured | None       # None: not trained
    failed: str | None

    @cached_property
    def size(self) -> Counted | None:
        """At the paper's image size, for a flatten makes a model's parameters depend on it; None if it has no such
        model."""
        try:
            return count(Entry(self.own.model.name, self.own.model.kwargs, "", self.own.data.size))
        except (ValueError, TypeError):
            return None

    @property
    def difference(self) -> float | None:
        reported = self.row.reported.get("accuracy")
        return self.measured.scores["accuracy"] - reported if self.measured and reported is not None else None


@dataclass(frozen=True)
class Protocol:
    paper: str
    command: str
    reduced: list[str]              # what is smaller than in the paper, in words; empty: nothing
    theirs: list[str]               # datasets reported on
    ours: list[str]                 # datasets measured on
