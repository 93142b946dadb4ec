"""The sample submission is the authority: ids and their order, columns, newlines, and the form of a label."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comp.data.scan import Dataset
from comp.errors import UserError


@dataclass(frozen=True)
class SubmissionTable:
    """How a submission looks. `rows` are text as in the file: the id, then the label or one probability per class."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    layout: str = "csv"  # csv, records ([{...}]) or map ({id: label})
    newline: str = "\n"
    bom: bool = False
    numeric: tuple[bool, ...] = ()  # JSON: which columns hold numbers and not text

    @property
    def ids(self) -> list[str]:
        return [row[0] for row in self.rows]

    @property
    def suffix(self) -> str:
        return ".csv" if self.layout == "csv" else ".json"


def sample_path(root: Path) -> Path | None:
    files = (root / name for name in ("sample_submission.csv", "sample_submission.json"))
    return next((file for file in files if file.is_file()), None)


def load_sample(dataset: Dataset) -> SubmissionTable:
    """The dataset's sample file; without one, image,label with class names, in the order of the test folder."""
    if file := sample_path(dataset.root):
        return read_table(file)
    return SubmissionTable(("image", "label"), tuple((image.id, dataset.classes[0]) for image in dataset.test))


def read_table(path: Path) -> SubmissionTable:
    """A file that is whole: what is read here may be filled in, or sent."""
    sample = read_table_unchecked(path)
    if len(sample.columns) < 2 or not sample.rows or any(len(row) != len(sample.columns) for row in sample.rows):
        raise UserError(f"{path} must have an id column, one or more label columns and rows of that length")
    if len(set(sample.ids)) != len(sample.ids):
        raise UserError(f"{path} names an id twice: {next(i for i in sample.ids if sample.ids.count(i) > 1)}")
    return sample


def read_table_unchecked(path: Path) -> SubmissionTable:
    """Whatever rows there are: of any length, ids twice or missing. A check wants to see them all."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
        # a map's pairs as pairs: a dict would hide an id that is there twice
        return _from_json(json.loads(text, object_pairs_hook=tuple)) if path.suffix == ".json" else _from_csv(text, raw)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, csv.Error, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is not a readable submission file") from None


def _from_csv(text: str, raw: bytes) -> SubmissionTable:
    lines = [tuple(row) for row in csv.reader(io.StringIO(text, newline="")) if row]
    newline = "\r\n" if "\r\n" in text else "\n"
    return SubmissionTable(lines[0], tuple(lines[1:]), "csv", newline, raw.startswith(b"\xef\xbb\xbf"))


def _from_json(content: Any) -> SubmissionTable:
    if isinstance(content, tuple):
        layout, columns, rows = "map", ("id", "label"), list(content)
    else:
        records = [dict(record) for record in content]
        layout, columns = "records", tuple(records[0])
        rows = [tuple(row[column] for column in columns) for row in records]
    numeric = tuple(all(isinstance(value, int | float) for value in column) for column in zip(*rows, strict=True))
    return SubmissionTable(columns, tuple(tuple(map(str, row)) for row in rows), layout, numeric=numeric)


def fill_table(sample: SubmissionTable, predictions: pd.DataFrame, dataset: Dataset) -> SubmissionTable:
    """The sample with our answers in it. Ids may lack their extension; every one must have an image."""
    images = _match_ids(sample.ids, dataset)
    values = predictions.loc[images, list(dataset.classes)].to_numpy()
    answers = _answers(sample, values, dataset)
    return replace(sample, rows=tuple((id, *answer) for id, answer in zip(sample.ids, answers, strict=True)))


def check_sample(sample: SubmissionTable, dataset: Dataset) -> None:
    """Every mistake `fill` would find, before there is anything to fill in."""
    nothing = pd.DataFrame(0.0, index=[image.id for image in dataset.test], columns=list(dataset.classes))
    fill_table(sample, nothing, dataset)


def _match_ids(ids: Sequence[str], dataset: Dataset) -> list[str]:
    """An id is an image's own, or its path below test/; either may lack the extension where that names one image."""
    by_name: dict[str, str] = {}
    short: dict[str, set[str]] = {}
    for image in dataset.test:
        for name in {image.id, image.path.relative_to(dataset.root / "test").as_posix()}:
            by_name[name] = image.id
            short.setdefault(str(Path(name).with_suffix("")), set()).add(image.id)
    by_name = {name: next(iter(images)) for name, images in short.items() if len(images) == 1} | by_name
    absent = [id for id in ids if id not in by_name]
    if absent:
        both = " (two have that name)" if absent[0] in short else ""
        raise UserError(
            f"the sample submission has {len(absent)} ids without a test image, such as {absent[0]}{both}; "
            f"put those images under test/ or mend the sample"
        )
    return [by_name[id] for id in ids]


@dataclass(frozen=True)
class LabelFormat:
    """How a file says a class: `words`, one per class in the dataset's order, as a label or as a column's name."""

    words: tuple[str, ...]
    columns: bool  # a column of probabilities per class, instead of one label


def detect_label_format(sample: SubmissionTable, classes: Sequence[str], numbers: Sequence[int]) -> LabelFormat:
    """A class name or number per row, whichever the sample shows; or a probability column per class."""
    names, digits = tuple(classes), tuple(map(str, numbers))
    if len(sample.columns) == 2:
        shown = {row[1] for row in sample.rows}
        if shown <= set(names) and not (sample.numeric and sample.numeric[1]):
            return LabelFormat(names, columns=False)
        if all(label.lstrip("-").isdigit() for label in shown):
            return LabelFormat(digits, columns=False)
        raise UserError(
            f"the sample submission's labels ({', '.join(sorted(shown)[:3])}) are neither class names nor "
            f"class numbers; fill in one of them so that the form is clear"
        )
    for known in (names, digits):
        if set(sample.columns[1:]) == set(known):
            return LabelFormat(known, columns=True)
    raise UserError(
        f"the sample submission's columns ({', '.join(sample.columns[1:])}) are not the classes ({', '.join(classes)})"
    )


def _answers(sample: SubmissionTable, values: np.ndarray, dataset: Dataset) -> list[tuple[str, ...]]:
    form = detect_label_format(sample, dataset.classes, dataset.class_numbers)
    if not form.columns:
        return [(form.words[best],) for best in values.argmax(1)]
    order = [form.words.index(column) for column in sample.columns[1:]]
    return [tuple(f"{value:.9g}" for value in row[order]) for row in values]
