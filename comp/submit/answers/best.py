"""The answer of the best classes per row, best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comp.errors import shorten_list
from comp.submit.answers.base import Answer
from comp.submit.format_checks import SubmissionIssue, count_rows
from comp.submit.submission_table import SubmissionTable


@dataclass(frozen=True)
class BestAnswer(Answer):
    """The `count` most probable classes, with a space between them."""

    tokens: tuple[str, ...]  # of the classes, in the order of the predictions
    count: int

    @property
    def description(self) -> str:
        return f"the {self.count} most probable of {len(self.tokens):,} classes, with spaces between them"

    def format(self, predictions: np.ndarray, columns: Sequence[str]) -> list[tuple[str, ...]]:
        best = np.argsort(-predictions, kind="stable")[:, : self.count]
        return [(" ".join(self.tokens[index] for index in row),) for row in best]

    def issues(self, submission: SubmissionTable) -> Iterator[SubmissionIssue]:
        known = set(self.tokens)
        for problem, is_bad in (
            ("a class that does not exist", lambda names: not set(names) <= known),
            ("no class", lambda names: not names),
            ("a class twice", lambda names: len(set(names)) < len(names)),
            (f"more than {self.count} classes", lambda names: len(names) > self.count),
        ):
            if bad := [id for id, text in submission.rows if is_bad(text.split())]:
                yield SubmissionIssue("error", f"{count_rows(bad)} {problem}: {shorten_list(bad)}")
        if len(submission.rows) > 1 and len({text for _, text in submission.rows}) == 1:
            yield SubmissionIssue("suspicious", f"every row has the classes {submission.rows[0][1]}")

    def labels(self, table: SubmissionTable) -> dict[str, str]:
        return {id: text for id, text in table.rows}
