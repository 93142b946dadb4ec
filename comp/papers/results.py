"""A row of a paper's table, what it was trained as, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from comp.papers.measure import MeasuredRow
from comp.papers.model_sizes import ModelSize, count_model_size
from comp.papers.reported import ReportedRow
from comp.schema import Config


@dataclass(frozen=True)
class RowResult:
    row: ReportedRow
    own: Config  # as the paper has it
    config: Config  # under the protocol used, of the first seed
    measured: MeasuredRow | None  # None: not trained
    failed: str | None

    @cached_property
    def size(self) -> ModelSize | None:
        """At the paper's image size, for a flatten makes a model's parameters depend on it; None if it has no such
        model."""
        try:
            return count_model_size(self.own.model.name, self.own.model.kwargs, self.own.data.size)
        except (KeyError, RuntimeError, ValueError, TypeError):
            return None

    @property
    def difference(self) -> float | None:
        reported = self.row.reported.get("accuracy")
        return self.measured.scores["accuracy"] - reported if self.measured and reported is not None else None


@dataclass(frozen=True)
class Protocol:
    paper: str
    command: str
    own: list[Config]  # as the paper has its rows
    used: list[Config]  # what was trained for them
    seeds: int

    @property
    def theirs(self) -> list[str]:
        """Datasets reported on."""
        return sorted({config.dataset for config in self.own})

    @property
    def ours(self) -> list[str]:
        """Datasets measured on."""
        return sorted({config.dataset for config in self.used})

    @property
    def reduced(self) -> list[str]:
        """What of the trainings is not as in the paper, in the words of a config; empty: all is."""
        words = []
        own, used = ([flat.identity() for flat in configs] for configs in (self.own, self.used))
        for key in sorted({key for flat in own for key in flat} - {"train.seed"}):
            before, now = ({str(flat.get(key)) for flat in configs} for configs in (own, used))
            if now - before or len(now) < len(before):
                numbers = [flat[key] for flat in used if isinstance(flat.get(key), int | float)]
                words.append(
                    f"{key} at most {max(numbers)}" if len(now) > 1 and numbers else f"{key}={', '.join(sorted(now))}"
                )
        return words
