"""The format of classes in a submission file: names or numbers, one label or a probability per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.errors import UserError
from comp.submit.submission_table import SubmissionTable


@dataclass(frozen=True)
class LabelFormat:
    """The format of classes in a submission file.

    `class_tokens` has one text per class, in the dataset's order: the label itself, or the name of its column.
    """

    class_tokens: tuple[str, ...]
    has_probabilities: bool  # a column of probabilities per class, instead of one label


def detect_label_format(sample: SubmissionTable, classes: Sequence[str], class_numbers: Sequence[int]) -> LabelFormat:
    """Return the format of the sample's labels: class names or numbers, in one column or as one column per class."""
    names, numbers = tuple(classes), tuple(map(str, class_numbers))
    if len(sample.columns) == 2:
        labels = {row[1] for row in sample.rows}
        if labels <= set(names) and not (sample.numeric and sample.numeric[1]):
            return LabelFormat(names, has_probabilities=False)
        if all(label.lstrip("-").isdigit() for label in labels):
            return LabelFormat(numbers, has_probabilities=False)
        raise UserError(
            f"the sample submission's labels ({', '.join(sorted(labels)[:3])}) are neither class names nor "
            f"class numbers; fill in one of them so that the format is clear"
        )
    for tokens in (names, numbers):
        if set(sample.columns[1:]) == set(tokens):
            return LabelFormat(tokens, has_probabilities=True)
    raise UserError(
        f"the sample submission's columns ({', '.join(sample.columns[1:])}) are not the classes ({', '.join(classes)})"
    )


def format_labels(
    probabilities: np.ndarray, columns: Sequence[str], label_format: LabelFormat
) -> list[tuple[str, ...]]:
    """Return the text of each row without its id, for `probabilities` (rows, classes) in the dataset's class order.

    `columns` are the header of the file. Probabilities have 9 digits: float32 survives the round trip.
    """
    if not label_format.has_probabilities:
        return [(label_format.class_tokens[class_index],) for class_index in probabilities.argmax(1)]
    order = [label_format.class_tokens.index(column) for column in columns[1:]]
    return [tuple(f"{value:.9g}" for value in row[order]) for row in probabilities]


def predicted_labels(table: SubmissionTable, label_format: LabelFormat, classes: Sequence[str]) -> dict[str, str]:
    """Return id -> class name, the class with the largest probability where the file has probabilities.

    `table` must have no issue of severity `error`.
    """
    if not label_format.has_probabilities:
        names = dict(zip(label_format.class_tokens, classes, strict=True))
        return {id: names[token] for id, token in table.rows}
    order = [table.columns.index(token) for token in label_format.class_tokens]
    return {row[0]: classes[int(np.argmax([float(row[column]) for column in order]))] for row in table.rows}
