"""The answer of any number of tags per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comp.errors import shorten_list
from comp.submit.answers.base import Answer
from comp.submit.format_checks import SubmissionIssue, count_rows
from comp.submit.submission_table import SubmissionTable


@dataclass(frozen=True)
class TagsAnswer(Answer):
    """The tags whose probability is 0.5 or more, joined by the separator; thresholds have moved them there."""

    tags: tuple[str, ...]
    separator: str

    @property
    def description(self) -> str:
        return f"any of {len(self.tags):,} tags, with {self.separator!r} between them"

    def format(self, predictions: np.ndarray, columns: Sequence[str]) -> list[tuple[str, ...]]:
        names = np.array(self.tags, dtype=object)
        return [(self.separator.join(names[row >= 0.5]),) for row in predictions]

    def issues(self, submission: SubmissionTable) -> Iterator[SubmissionIssue]:
        known = set(self.tags)
        unknown = [id for id, text in submission.rows if not set(filter(None, text.split(self.separator))) <= known]
        if unknown:
            yield SubmissionIssue("error", f"{count_rows(unknown)} a tag that does not exist: {shorten_list(unknown)}")
        if len(submission.rows) > 1 and len({text for _, text in submission.rows}) == 1:
            yield SubmissionIssue("suspicious", f"every row has the tags {submission.rows[0][1]!r}")

    def labels(self, table: SubmissionTable) -> dict[str, str]:
        return {id: self.separator.join(sorted(text.split(self.separator))) for id, text in table.rows}
