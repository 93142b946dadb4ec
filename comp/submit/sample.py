"""The sample submission, which decides what is written: ids, their order, columns, newlines, the format of labels."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.image_index import ImageIndex
from comp.data.labels import read_ids
from comp.data.missing import check_missing
from comp.data.scan import Dataset
from comp.errors import UserError
from comp.files import file_exists
from comp.records.source import DataSource
from comp.rows import Rows
from comp.submit.answers import choose_answer
from comp.submit.submission_table import SubmissionTable, read_table


def sample_path(root: Path, name: str | None = None) -> Path | None:
    """Return the sample submission of the dataset in `root`, or None if it has none; `name` is that of the config."""
    if name is not None:
        if not file_exists(root / name):
            raise UserError(f"there is no sample submission {root / name}; fix submit.sample")
        return root / name
    files = (root / name for name in ("sample_submission.csv", "sample_submission.json"))
    return next((file for file in files if file_exists(file)), None)


def load_sample(dataset: Dataset) -> SubmissionTable:
    """Read the dataset's sample; without one, return image,label with class names, in the order of the test images."""
    if file := sample_path(dataset.root, dataset.sample):
        return read_table(file)
    return SubmissionTable(("image", "label"), tuple((image.id, dataset.classes[0]) for image in dataset.test))


def fill_table(sample: SubmissionTable, predictions: pd.DataFrame, dataset: Dataset) -> SubmissionTable:
    """Return the sample with predicted answers instead of its own.

    `predictions` has a row for each row of the sample, called as `match_rows` calls it, and the columns of the task.
    """
    values = predictions.loc[list(match_rows(sample, dataset)[0].ids), list(dataset.classes)].to_numpy()
    labels = choose_answer(sample, dataset).format(values, sample.columns)
    return replace(sample, rows=tuple((id, *label) for id, label in zip(sample.ids, labels, strict=True)))


def check_sample(sample: SubmissionTable, dataset: Dataset) -> Rows:
    """Return the test images of each row of the sample, and print how many lack one.

    A sample that cannot be filled is a UserError, before predicting.
    """
    rows, line = match_rows(sample, dataset)
    if line:
        print(f"warning: {line}", file=sys.stderr)
    zeros = np.zeros((len(rows.ids), len(dataset.classes)))
    choose_answer(sample, dataset).format(zeros, sample.columns)
    return rows


def describe_answer(dataset: Dataset) -> str:
    """Return in a line what a row of a submission will hold, and why; a sample that cannot be filled is a UserError."""
    if not dataset.test:
        return "there are no test images, so no submission"
    sample = load_sample(dataset)
    check_sample(sample, dataset)
    source = dataset.source or DataSource(str(dataset.root))
    reason = "submit.answer" if source.answer else f"data.task={dataset.task.kind}, train.metric={source.metric}"
    return f"a submission: {len(sample.rows):,} rows, each with {choose_answer(sample, dataset).description} ({reason})"


def match_rows(sample: SubmissionTable, dataset: Dataset) -> tuple[Rows, str]:
    """Return the test images of each row of the sample, and a line about rows that lack one; empty if none does.

    An id of the sample is a name of an image: its own id, its file name or its path below test/, each with or without
    the extension where that names one image; the row is then called after the image. With `data.ids` a table maps it to
    such names.
    """
    source = dataset.source or DataSource(str(dataset.root))
    folders = [dataset.root / folder for folder in source.test or ("test",)]
    positions = {image.path: position for position, image in enumerate(dataset.test)}
    index = ImageIndex([dataset.root, *folders], positions)
    table = read_ids(source) if source.ids else None
    missing, matched = [], []
    for id in sample.ids:
        names = [id] if table is None else table.get(id, [])
        images = [positions[path] for name in names if (path := index.find(name)) is not None]
        matched.append(images)
        if not images or len(images) < len(names):
            missing.append(id)
    train_names = {name for image in dataset.train for name in (image.id, image.path.stem)} if missing else set()
    if trained := [id for id in missing if id in train_names]:
        raise UserError(
            f"the sample submission has {len(trained):,} ids of training images, such as {', '.join(trained[:5])}; "
            f"take that of the test images (submit.sample)"
        )
    line = check_missing(
        missing,
        "ids of the sample submission have no test image, or not all of theirs",
        "put those images under test/, or fix the sample",
        result="those without any get the baseline, the best answer without looking at an image",
        allowed=source.allow_missing,
    )
    if table is not None:
        row_ids = sample.ids
    else:
        row_ids = [dataset.test[images[0]].id if images else id for id, images in zip(sample.ids, matched, strict=True)]
    empty = [id for id, images in zip(sample.ids, matched, strict=True) if not images]
    if empty and not dataset.train:
        raise UserError(
            f"{len(empty):,} ids of the sample submission have no test image, such as {empty[0]}, and without training "
            f"labels there is no baseline for them; put those images under test/, or fix the sample"
        )
    return Rows.of_positions(row_ids, matched, dataset.task.baseline(dataset.targets) if empty else None), line
