"""The answer of one number per row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comp.errors import shorten_list
from comp.submit.answers.base import Answer
from comp.submit.format_checks import SubmissionIssue, count_rows
from comp.submit.submission_table import SubmissionTable


@dataclass(frozen=True)
class NumberAnswer(Answer):
    """A number, which training had between `low` and `high`."""

    low: float
    high: float

    @property
    def description(self) -> str:
        return f"a number (in training from {self.low:g} to {self.high:g})"

    def format(self, predictions: np.ndarray, columns: Sequence[str]) -> list[tuple[str, ...]]:
        return [(f"{value:.9g}",) for value in predictions[:, 0]]

    def issues(self, submission: SubmissionTable) -> Iterator[SubmissionIssue]:
        yield from number_issues(submission, -math.inf, math.inf)
        values = read_numbers(submission)
        if ((values < self.low) | (values > self.high)).any():
            yield SubmissionIssue("warning", f"some values are not between training's {self.low:g} and {self.high:g}")

    def labels(self, table: SubmissionTable) -> dict[str, str]:
        return {row[0]: row[1] for row in table.rows}


def read_numbers(table: SubmissionTable) -> np.ndarray:
    """Return the second column as numbers; NaN for what is none."""
    return np.array([_number(row[1]) for row in table.rows])


def number_issues(submission: SubmissionTable, low: float, high: float) -> Iterator[SubmissionIssue]:
    """Yield the issues of a column of numbers between `low` and `high`."""
    values, ids = read_numbers(submission), np.array(submission.ids, dtype=object)
    for bad, problem in (
        (~np.isfinite(values), "a value that is not a number"),
        ((values < low) | (values > high), f"a value below {low:g} or above {high:g}"),
    ):
        if bad.any():
            rows = list(ids[bad])
            yield SubmissionIssue("error", f"{count_rows(rows)} {problem}: {shorten_list(rows)}")
            return
    if len(values) > 1 and (values == values[0]).all():
        yield SubmissionIssue("suspicious", f"every row has the value {submission.rows[0][1]}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
