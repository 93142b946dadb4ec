"""Answers of classes: one label per row, or a column of probabilities per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comp.submit.answers.base import Answer
from comp.submit.format_checks import SubmissionIssue, label_issues, probability_issues
from comp.submit.label_format import LabelFormat, format_labels, predicted_labels
from comp.submit.submission_table import SubmissionTable


@dataclass(frozen=True)
class ClassAnswer(Answer):
    """The class of each row, by name or number; or the probability of each, in a column of its name or number."""

    label_format: LabelFormat
    classes: tuple[str, ...]
    is_exclusive: bool = True  # probabilities sum to 1

    @property
    def has_probabilities(self) -> bool:  # type: ignore[override]  # it depends on the sample
        return self.label_format.has_probabilities

    @property
    def description(self) -> str:
        tokens = self.label_format.class_tokens
        what = "the probability of each of" if self.has_probabilities else "one of"
        return f"{what} {len(tokens):,} classes ({', '.join(tokens[:3])}{', ...' if len(tokens) > 3 else ''})"

    def format(self, predictions: np.ndarray, columns: Sequence[str]) -> list[tuple[str, ...]]:
        return format_labels(predictions, columns, self.label_format)

    def issues(self, submission: SubmissionTable) -> Iterator[SubmissionIssue]:
        if self.has_probabilities:
            return probability_issues(submission, self.label_format, self.is_exclusive)
        return label_issues(submission, self.label_format)

    def labels(self, table: SubmissionTable) -> dict[str, str]:
        return predicted_labels(table, self.label_format, self.classes)
