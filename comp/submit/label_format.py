"""The format of classes in a submission file: names or numbers, one label or a probability per class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.data.scan import NUMBER_NAME
from comp.errors import UserError, shorten, shorten_list
from comp.submit.submission_table import SubmissionTable

NUMBER = re.compile("-?(0|[1-9][0-9]{0,17})")  # as the kit writes it: neither 007 nor 1.0


@dataclass(frozen=True)
class LabelFormat:
    """The format of classes in a submission file.

    `class_tokens` has one text per class, in the dataset's order: the label itself, or the name of its column.
    """

    class_tokens: tuple[str, ...]
    has_probabilities: bool  # a column of probabilities per class, instead of one label


def detect_label_format(sample: SubmissionTable, classes: Sequence[str], class_numbers: Sequence[int]) -> LabelFormat:
    """Return the format of the sample's labels: class names or numbers, in one column or as one column per class.

    A UserError says what to fill in where it could be either: the other one would name other classes. `class_numbers`
    are empty where none are known.
    """
    names, numbers = tuple(classes), tuple(map(str, class_numbers))
    if len(sample.columns) == 2:
        return LabelFormat(_label_tokens(sample, names, numbers), has_probabilities=False)
    columns = sorted(sample.columns[1:])
    fitting = {tokens for tokens in (names, numbers) if sorted(tokens) == columns}
    if len(fitting) == 1:
        return LabelFormat(fitting.pop(), has_probabilities=True)
    problem = "may be names or numbers of the classes" if fitting else "are not the classes"
    raise UserError(
        f"the sample submission's columns ({shorten_list(sample.columns[1:], 10, 24)}) {problem} "
        f"({shorten_list(classes, 10, 24)}); "
        f"{'remove class_map.json or rename the folders' if fitting else 'fix the sample'}"
    )


def _label_tokens(sample: SubmissionTable, names: tuple[str, ...], numbers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tokens of the classes, names or numbers, that the sample's labels belong to."""
    labels = {row[1] for row in sample.rows}
    fits_names = labels <= set(names) and not (sample.numeric and sample.numeric[1])
    fits_numbers = bool(numbers) and _fits_numbers(labels, names, numbers)
    if fits_names and fits_numbers and names != numbers:
        only_names, only_numbers = sorted(set(names) - set(numbers)), sorted(set(numbers) - set(names))
        advice = "remove class_map.json or rename the folders of train/"
        if only_names and only_numbers:
            advice = f"fill it with {only_names[0]} for names, with {only_numbers[0]} for numbers"
        raise UserError(
            f"the sample submission's labels ({shorten_list(sorted(labels), length=24)}) may be names or numbers of "
            f"the classes; {advice}"
        )
    if fits_names or fits_numbers:
        return names if fits_names else numbers
    if not numbers:
        raise UserError(
            f"the sample submission's labels ({shorten_list(sorted(labels), length=24)}) are not class names such as "
            f"{shorten(names[0], 24)}; add a class_map.json with the number of each class, or fix the sample"
        )
    raise UserError(
        f"the sample submission's labels ({shorten_list(sorted(labels), length=24)}) are neither class names nor class "
        f"numbers; fill in a class name such as {shorten(names[0], 24)}, or a class number such as {numbers[0]}; "
        f"class_map.json gives each class its number"
    )


def _fits_numbers(labels: set[str], names: Sequence[str], numbers: Sequence[str]) -> bool:
    """Return whether labels that need not be classes, such as a sample filled with 42, can only mean `numbers`.

    The numbers are those of class_map.json, else those that the class names are, else positions from 0.
    """
    if not all(NUMBER.fullmatch(label) for label in labels):
        return False
    if labels <= set(numbers):
        return True
    positions = set(map(str, range(len(names))))
    if set(numbers) == positions:  # labels from 1 on, say, would all be off by one
        return False
    if all(map(NUMBER_NAME.fullmatch, names)):
        is_map = any(int(name) != int(number) for name, number in zip(names, numbers, strict=True))
        return not is_map and not labels <= positions and (len(labels) == 1 or bool(labels & set(numbers)))
    return True


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
