"""The interface of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from comp.submit.format_checks import SubmissionIssue
from comp.submit.submission_table import SubmissionTable


class Answer(ABC):
    """The content of a submission's row beside its id."""

    has_probabilities: bool = False

    @property
    @abstractmethod
    def description(self) -> str:
        """The answer in words, for `data adopt`, `data check` and `folds`."""

    @abstractmethod
    def format(self, predictions: np.ndarray, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the text of each row without its id, for predictions (rows, columns of the task).

        `columns` are the header of the file. Numbers have 9 digits: float32 survives the round trip.
        """

    @abstractmethod
    def issues(self, submission: SubmissionTable) -> Iterator[SubmissionIssue]:
        """Yield every issue of the values of a file whose columns are the sample's."""

    @abstractmethod
    def labels(self, table: SubmissionTable) -> dict[str, str]:
        """Return id -> what the row answers, to compare two files. `table` must have no issue of severity `error`."""
