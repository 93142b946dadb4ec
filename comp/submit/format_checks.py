"""What is wrong with a submission before anybody asks how good it is: ids, columns, labels, probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from comp.submit.sample import LabelFormat, SubmissionTable

SUM_TOLERANCE = 1e-3  # ours are off by 1e-6 at most; four decimals of eight classes by 4e-4

Severity = Literal["broken", "doubtful", "warning", "note"]
EMPTY_VALUES = ("", "nan", "none", "null")


@dataclass(frozen=True)
class SubmissionIssue:
    """`broken` is never sent, `doubtful` only on demand; the others may be."""

    level: Severity
    text: str


def format_issues(submission: SubmissionTable, sample: SubmissionTable, form: LabelFormat) -> Iterator[SubmissionIssue]:
    """Everything that can be said of the file alone. After something broken, answers need not be readable."""
    if submission.layout != sample.layout:
        yield SubmissionIssue("broken", f"its layout is {submission.layout}, and the sample's is {sample.layout}")
        return
    torn = [row for row in submission.rows if len(row) != len(submission.columns)]
    if torn:
        yield SubmissionIssue(
            "broken", f"{_have(torn)} another length than the header, such as {','.join(torn[0])[:80]!r}"
        )
        return
    if submission.columns != sample.columns:
        yield SubmissionIssue(
            "broken", f"its columns are {','.join(submission.columns)}, and must be {','.join(sample.columns)}"
        )
    if (submission.newline, submission.bom) != (sample.newline, sample.bom):
        yield SubmissionIssue("warning", "its newlines or its byte order mark are not the sample's")
    yield from _ids(submission.ids, sample.ids)
    if submission.columns == sample.columns:
        said = list(_probabilities(submission, form) if form.columns else _labels(submission, form))
        yield from said
        if submission.numeric != sample.numeric and not any(finding.level == "broken" for finding in said):
            yield SubmissionIssue("broken", "it has JSON numbers where the sample has text, or the other way round")


def _ids(found: Sequence[str], wanted: Sequence[str]) -> Iterator[SubmissionIssue]:
    counted = Counter(found)
    for what, ids in (
        ("missing", [id for id in wanted if id not in counted]),
        ("not in the sample", [id for id in counted if id not in set(wanted)]),
        ("there twice", [id for id, times in counted.items() if times > 1]),
    ):
        if ids:
            yield SubmissionIssue(
                "broken", f"{len(ids):,} {'ids are' if len(ids) > 1 else 'id is'} {what}: {shorten_list(ids)}"
            )
    if list(found) != list(wanted) and counted == Counter(wanted):
        yield SubmissionIssue("warning", "its ids are in another order than the sample's; most services do not mind")


def _labels(submission: SubmissionTable, form: LabelFormat) -> Iterator[SubmissionIssue]:
    odd = [(id, label) for id, label in submission.rows if label not in form.words]
    empty = [id for id, label in odd if label.strip().lower() in EMPTY_VALUES]
    wrong = [f"{id} {label}" for id, label in odd if label.strip().lower() not in EMPTY_VALUES]
    if empty:
        yield SubmissionIssue("broken", f"{_have(empty)} no label: {shorten_list(empty)}")
    if wrong:
        yield SubmissionIssue(
            "broken", f"{_have(wrong)} a label that is none of {shorten_list(form.words, 10)}: {shorten_list(wrong)}"
        )
    if not odd and len(submission.rows) > 1 and len({label for _, label in submission.rows}) == 1:
        yield SubmissionIssue("doubtful", f"every row says {submission.rows[0][1]}")


def _probabilities(submission: SubmissionTable, form: LabelFormat) -> Iterator[SubmissionIssue]:
    values = np.array([[_number(text) for text in row[1:]] for row in submission.rows]).reshape(-1, len(form.words))
    ids = np.array(submission.ids, dtype=object)
    for bad, what in (
        (~np.isfinite(values), "a probability that is no number"),
        ((values < 0) | (values > 1), "a probability below 0 or above 1"),
    ):
        if bad.any():
            yield SubmissionIssue("broken", f"{_have(ids[bad.any(1)])} {what}: {shorten_list(ids[bad.any(1)])}")
            return
    sums = values.sum(1)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        named = [f"{id} {total:.4g}" for id, total in zip(ids[off], sums[off], strict=True)]
        yield SubmissionIssue("doubtful", f"{_have(named)} probabilities that do not sum to 1: {shorten_list(named)}")
    if len(values) > 1 and (values == values[0]).all():
        yield SubmissionIssue("doubtful", "every row has the same probabilities")


def predicted_labels(submission: SubmissionTable, form: LabelFormat, classes: Sequence[str]) -> dict[str, str]:
    """id -> class name; of probabilities the largest. Of a file without anything broken."""
    if not form.columns:
        names = dict(zip(form.words, classes, strict=True))
        return {id: names[word] for id, word in submission.rows}
    order = [submission.columns.index(word) for word in form.words]
    return {row[0]: classes[int(np.argmax([float(row[place]) for place in order]))] for row in submission.rows}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _have(rows: Sequence) -> str:
    return f"{len(rows):,} rows have" if len(rows) > 1 else "1 row has"


def shorten_list(words: Iterable[str], most: int = 3) -> str:
    words = list(words)
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")
