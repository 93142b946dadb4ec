"""Check the format of a submission against the sample: layout, ids, columns, labels, probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from comp.errors import shorten_list
from comp.submit.label_format import LabelFormat
from comp.submit.submission_table import SubmissionTable

if TYPE_CHECKING:  # answers are built on these checks
    from comp.submit.answers import Answer

SUM_TOLERANCE = 1e-3  # ours are off by 1e-6 at most; four decimals of eight classes by 4e-4

Severity = Literal["error", "suspicious", "warning", "info"]
EMPTY_VALUES = ("", "nan", "none", "null")


@dataclass(frozen=True)
class SubmissionIssue:
    """A problem of a submission. `error` is never sent, `suspicious` only with --yes; the others may be sent."""

    severity: Severity
    text: str


def format_issues(submission: SubmissionTable, sample: SubmissionTable, answer: Answer) -> Iterator[SubmissionIssue]:
    """Yield every issue that the file alone shows. If none is an error, its labels can be read."""
    if submission.layout != sample.layout:
        yield SubmissionIssue("error", f"its layout is {submission.layout}, and the sample's is {sample.layout}")
        return
    ragged_rows = [row for row in submission.rows if len(row) != len(submission.columns)]
    if ragged_rows:
        yield SubmissionIssue(
            "error",
            f"{count_rows(ragged_rows)} another length than the header, such as {','.join(ragged_rows[0])[:80]!r}",
        )
        return
    if submission.header != sample.header:
        yield SubmissionIssue(
            "error",
            f"its columns are {shorten_list(submission.header, 10, separator=',')}, "
            f"and must be {shorten_list(sample.header, 10, separator=',')}",
        )
    elif submission.columns != sample.columns:
        column = submission.header[0]
        yield SubmissionIssue("error", f"its column {column!r} must have the sample's numbers of the rows")
        return
    elif _numbers_of_ids(submission) != _numbers_of_ids(sample):
        yield SubmissionIssue("warning", "its numbers of the rows are not the sample's")
    if (submission.newline, submission.bom) != (sample.newline, sample.bom):
        yield SubmissionIssue("warning", "its newlines or its byte order mark are not the sample's")
    yield from _id_issues(submission.ids, sample.ids)
    if submission.columns == sample.columns:
        issues = list(answer.issues(submission))
        yield from issues
        if submission.numeric != sample.numeric and not has_errors(issues):
            yield SubmissionIssue("error", "it has JSON numbers where the sample has text, or the other way round")


def _numbers_of_ids(table: SubmissionTable) -> dict[str, str]:
    """Return the number of each row by its id; empty for a table without row numbers."""
    return {} if table.row_numbers is None else dict(zip(table.ids, table.row_numbers.texts, strict=True))


def has_errors(issues: Iterable[SubmissionIssue]) -> bool:
    """Return whether an issue is an error."""
    return any(issue.severity == "error" for issue in issues)


def _id_issues(ids: Sequence[str], sample_ids: Sequence[str]) -> Iterator[SubmissionIssue]:
    counts, expected = Counter(ids), set(sample_ids)
    for problem, bad in (
        ("missing", [id for id in sample_ids if id not in counts]),
        ("not in the sample", [id for id in counts if id not in expected]),
        ("repeated", [id for id, count in counts.items() if count > 1]),
    ):
        if bad:
            yield SubmissionIssue(
                "error", f"{len(bad):,} {'ids are' if len(bad) > 1 else 'id is'} {problem}: {shorten_list(bad)}"
            )
    if list(ids) != list(sample_ids) and counts == Counter(sample_ids):
        yield SubmissionIssue("warning", "its ids are in another order than the sample's; most services do not mind")


def label_issues(submission: SubmissionTable, label_format: LabelFormat) -> Iterator[SubmissionIssue]:
    """Yield the issues of a file with one label per row."""
    tokens = set(label_format.class_tokens)
    unknown = [(id, label) for id, label in submission.rows if label not in tokens]
    empty = [id for id, label in unknown if label.strip().lower() in EMPTY_VALUES]
    invalid = [f"{id} {label}" for id, label in unknown if label.strip().lower() not in EMPTY_VALUES]
    if empty:
        yield SubmissionIssue("error", f"{count_rows(empty)} no label: {shorten_list(empty)}")
    if invalid:
        yield SubmissionIssue(
            "error",
            f"{count_rows(invalid)} a label that is not one of {shorten_list(label_format.class_tokens, 10)}: "
            f"{shorten_list(invalid)}",
        )
    if not unknown and len(submission.rows) > 1 and len({label for _, label in submission.rows}) == 1:
        yield SubmissionIssue("suspicious", f"every row has the label {submission.rows[0][1]}")


def probability_issues(
    submission: SubmissionTable, label_format: LabelFormat, is_exclusive: bool
) -> Iterator[SubmissionIssue]:
    """Yield the issues of a file with a probability per class and row."""
    values = np.array([[_number(text) for text in row[1:]] for row in submission.rows])
    values = values.reshape(-1, len(label_format.class_tokens))  # also without any row
    ids = np.array(submission.ids, dtype=object)
    for bad, problem in (
        (~np.isfinite(values), "a probability that is not a number"),
        ((values < 0) | (values > 1), "a probability below 0 or above 1"),
    ):
        if bad.any():
            rows = list(ids[bad.any(1)])
            yield SubmissionIssue("error", f"{count_rows(rows)} {problem}: {shorten_list(rows)}")
            return
    sums = values.sum(1)
    is_off = is_exclusive & (np.abs(sums - 1) > SUM_TOLERANCE)
    if is_off.any():
        named = [f"{id} {total:.4g}" for id, total in zip(ids[is_off], sums[is_off], strict=True)]
        yield SubmissionIssue(
            "suspicious", f"{count_rows(named)} probabilities that do not sum to 1: {shorten_list(named)}"
        )
    if len(values) > 1 and (values == values[0]).all():
        yield SubmissionIssue("suspicious", "every row has the same probabilities")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def count_rows(rows: Sequence[object]) -> str:
    """Return a count with its verb: `1 row has`, `12 rows have`."""
    return f"{len(rows):,} rows have" if len(rows) > 1 else "1 row has"
