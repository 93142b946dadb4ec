"""The result of each row of a paper's table, and the protocol under which a table was measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from comp.papers.measure import MeasuredRow
from comp.papers.model_sizes import BUILD_ERRORS, ModelSize, count_model_size
from comp.papers.reported import ReportedRow
from comp.schema import Config


@dataclass(frozen=True, eq=False)
class RowResult:
    """A row of a paper's table: a `TrainedRow` or an `UntrainedRow`."""

    row: ReportedRow
    paper_config: Config  # the config of the paper's own protocol
    config: Config  # under the protocol of the table, of the first seed

    @cached_property
    def model_size(self) -> ModelSize | None:
        """The size at the paper's image size, which the count depends on; None for a model that cannot be built."""
        model = self.paper_config.model
        try:
            return count_model_size(model.name, model.kwargs, self.paper_config.data.size)
        except BUILD_ERRORS:
            return None

    @property
    def has_reported_accuracy(self) -> bool:
        """Return whether the paper printed an accuracy for this row."""
        return "accuracy" in self.row.reported


@dataclass(frozen=True, eq=False)
class UntrainedRow(RowResult):
    """A row without a finished training, and why training failed if it did."""

    error: str | None


@dataclass(frozen=True, eq=False)
class TrainedRow(RowResult):
    """A row with at least one finished training."""

    measured: MeasuredRow

    @property
    def accuracy(self) -> float:
        """The measured accuracy."""
        return self.measured.scores["accuracy"]

    @property
    def difference(self) -> float | None:
        """The measured minus the reported accuracy; None if the paper printed none."""
        return self.accuracy - self.row.reported["accuracy"] if self.has_reported_accuracy else None


@dataclass(frozen=True)
class Protocol:
    """The protocol that a table was measured under: the command, the paper's configs and the trained ones."""

    paper: str
    command: str
    paper_configs: list[Config]  # one per row, as in the paper
    trained_configs: list[Config]  # one per row and seed
    seeds: int

    @property
    def paper_datasets(self) -> list[str]:
        """The datasets of the reported numbers."""
        return sorted({config.dataset for config in self.paper_configs})

    @property
    def our_datasets(self) -> list[str]:
        """The datasets of the measured numbers."""
        return sorted({config.dataset for config in self.trained_configs})

    @property
    def deviations(self) -> list[str]:
        """Return a text for each config key whose values differ from the paper's protocol: `data.size=96`.

        Several numbers are shortened: `train.epochs at most 15`. The list is empty under the paper's protocol.
        """
        deviations = []
        paper = [config.identity() for config in self.paper_configs]
        trained = [config.identity() for config in self.trained_configs]
        for key in sorted({key for identity in paper for key in identity} - {"train.seed"}):
            paper_values = {str(identity.get(key)) for identity in paper}
            trained_values = {str(identity.get(key)) for identity in trained}
            if trained_values - paper_values or len(trained_values) < len(paper_values):
                numbers = [identity[key] for identity in trained if isinstance(identity.get(key), int | float)]
                if len(trained_values) > 1 and numbers:
                    deviations.append(f"{key} at most {max(numbers)}")
                else:
                    deviations.append(f"{key}={', '.join(sorted(trained_values))}")
        return deviations
