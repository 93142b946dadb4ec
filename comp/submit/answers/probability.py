"""The answer of one probability per row: that of the second of two classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comp.submit.answers.base import Answer
from comp.submit.answers.number import number_issues, read_numbers
from comp.submit.format_checks import SubmissionIssue
from comp.submit.submission_table import SubmissionTable


@dataclass(frozen=True)
class ProbabilityAnswer(Answer):
    """The probability of yes, in one column."""

    classes: tuple[str, ...]  # no, yes
    has_probabilities = True

    @property
    def description(self) -> str:
        return f"the probability of {self.classes[1]}"

    def format(self, predictions: np.ndarray, columns: Sequence[str]) -> list[tuple[str, ...]]:
        return [(f"{value:.9g}",) for value in predictions[:, 1]]

    def issues(self, submission: SubmissionTable) -> Iterator[SubmissionIssue]:
        yield from number_issues(submission, 0, 1)
        values = read_numbers(submission)
        if len(values) > 1 and np.isin(values, [0, 1]).all() and len(np.unique(values)) > 1:
            yield SubmissionIssue("suspicious", "every value is 0 or 1: a label, where a probability ranks better")

    def labels(self, table: SubmissionTable) -> dict[str, str]:
        return {id: self.classes[int(value >= 0.5)] for id, value in zip(table.ids, read_numbers(table), strict=True)}
