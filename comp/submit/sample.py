"""The sample submission, which decides what is written: ids, their order, columns, newlines, the format of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from comp.data.scan import Dataset
from comp.errors import UserError
from comp.files import file_exists
from comp.submit.label_format import detect_label_format, format_labels
from comp.submit.submission_table import SubmissionTable, read_table


def sample_path(root: Path) -> Path | None:
    """Return the sample submission of the dataset in `root`, or None if it has none."""
    files = (root / name for name in ("sample_submission.csv", "sample_submission.json"))
    return next((file for file in files if file_exists(file)), None)


def load_sample(dataset: Dataset) -> SubmissionTable:
    """Read the dataset's sample; without one, return image,label with class names, in the order of the test images."""
    if file := sample_path(dataset.root):
        return read_table(file)
    return SubmissionTable(("image", "label"), tuple((image.id, dataset.classes[0]) for image in dataset.test))


def fill_table(sample: SubmissionTable, predictions: pd.DataFrame, dataset: Dataset) -> SubmissionTable:
    """Return the sample with predicted labels or probabilities instead of its own.

    `predictions` has a row per image id and a column of probabilities per class. Ids of the sample may lack their
    extension; each must name one test image, else a UserError says which do not.
    """
    images = _match_ids(sample.ids, dataset)
    probabilities = predictions.loc[images, list(dataset.classes)].to_numpy()
    label_format = detect_label_format(sample, dataset.classes, dataset.class_numbers)
    labels = format_labels(probabilities, sample.columns, label_format)
    return replace(sample, rows=tuple((id, *label) for id, label in zip(sample.ids, labels, strict=True)))


def check_sample(sample: SubmissionTable, dataset: Dataset) -> None:
    """Raise the UserError that `fill_table` would raise, before there are predictions to fill in."""
    zeros = pd.DataFrame(0.0, index=[image.id for image in dataset.test], columns=list(dataset.classes))
    fill_table(sample, zeros, dataset)


def _match_ids(ids: Sequence[str], dataset: Dataset) -> list[str]:
    """Return the image id of each id of the sample.

    An id of the sample is an image's own id, or its path below test/; either may lack the extension where that names
    one image.
    """
    by_name: dict[str, str] = {}
    without_suffix: dict[str, set[str]] = {}
    for image in dataset.test:
        for name in {image.id, image.path.relative_to(dataset.root / "test").as_posix()}:
            by_name[name] = image.id
            without_suffix.setdefault(str(Path(name).with_suffix("")), set()).add(image.id)
    by_name = {name: next(iter(images)) for name, images in without_suffix.items() if len(images) == 1} | by_name
    unmatched = [id for id in ids if id not in by_name]
    if unmatched:
        ambiguous = " (two have that name)" if unmatched[0] in without_suffix else ""
        raise UserError(
            f"the sample submission has {len(unmatched)} ids without a test image, such as {unmatched[0]}{ambiguous}; "
            f"put those images under test/ or fix the sample"
        )
    return [by_name[id] for id in ids]
