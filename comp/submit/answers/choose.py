"""Choose the answer of a sample: from the task and the metric, and from the sample's columns.

The values in a sample are placeholders: a 0 under a metric of probabilities is a probability.
"""

from __future__ import annotations

import math

from comp.data.scan import CLASS_MAP, Dataset
from comp.errors import UserError
from comp.files import file_exists
from comp.metrics import find_metric
from comp.records.source import DataSource
from comp.submit.answers.base import Answer
from comp.submit.answers.best import BestAnswer
from comp.submit.answers.classes import ClassAnswer
from comp.submit.answers.number import NumberAnswer
from comp.submit.answers.probability import ProbabilityAnswer
from comp.submit.answers.tags import TagsAnswer
from comp.submit.label_format import LabelFormat, detect_label_format
from comp.submit.submission_table import SubmissionTable


def choose_answer(sample: SubmissionTable, dataset: Dataset) -> Answer:
    """Return what the rows of a submission hold; a UserError says what to type where it is not clear."""
    task = dataset.task
    if len(sample.columns) > 2:
        label_format = detect_label_format(sample, task.columns, _class_numbers(dataset))
        return ClassAnswer(label_format, task.columns, is_exclusive=task.form == "classes")
    kind = _kind(sample, dataset)
    if kind == "number":
        low, high = task.spec.low, task.spec.high
        return NumberAnswer(-math.inf if low is None else low, math.inf if high is None else high)
    if kind == "tags":
        return TagsAnswer(task.columns, task.spec.separator)
    if kind == "probability":
        if len(task.columns) != 2:
            raise UserError(
                f"submit.answer=probability needs two classes, and there are {len(task.columns)}; "
                f"set submit.answer=label"
            )
        return ProbabilityAnswer(task.columns)
    if kind.startswith("best:"):
        return BestAnswer(task.columns, int(kind.removeprefix("best:")))
    if _holds_labels_of_table(sample, dataset):
        return ClassAnswer(LabelFormat(task.columns, has_probabilities=False), task.columns)
    return ClassAnswer(detect_label_format(sample, task.columns, _class_numbers(dataset)), task.columns)


def _class_numbers(dataset: Dataset) -> tuple[int, ...]:
    """Return the number of each class in a submission; empty where a table names the classes and no file numbers them.

    Their positions would be a guess. The class folders of a dataset are numbered from 0, as docs/data.md says.
    """
    is_table = dataset.source is not None and dataset.source.labels is not None
    is_numbered = all(map(_is_number, dataset.classes)) or file_exists(dataset.root / CLASS_MAP)
    return dataset.class_numbers if is_numbered or not is_table else ()


def _holds_labels_of_table(sample: SubmissionTable, dataset: Dataset) -> bool:
    """Return whether a submission holds labels as the table of training images has them.

    A table has the competition's own labels, so that those of the sample may be blank or of no class. Names where the
    sample has numbers, or the reverse, are left to `detect_label_format`.
    """
    if dataset.source is None or dataset.source.labels is None:
        return False
    labels = {row[1] for row in sample.rows if row[1]}
    return not labels or all(map(_is_decimal, labels)) == all(map(_is_decimal, dataset.task.columns))


def _kind(sample: SubmissionTable, dataset: Dataset) -> str:
    """Return the kind of the one column of answers, a value of submit.answer."""
    source, task = dataset.source or DataSource(str(dataset.root)), dataset.task
    if source.answer:
        return source.answer
    if task.form == "numbers":
        return "number"
    if task.form == "tags":
        return "tags"
    metric = find_metric(source.metric)
    if metric.answer == "ranking":
        return f"best:{metric.places}"
    holds_names = {row[1] for row in sample.rows} <= set(task.columns) and not all(map(_is_number, task.columns))
    if metric.answer == "probability" and len(task.columns) == 2 and not holds_names:
        return "probability"
    return "label"


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdecimal()


def _is_decimal(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
