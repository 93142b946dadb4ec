"""Corrected labels of a dataset: folds/<dataset>.relabel.csv, in git, by image id. No original file is changed.

`scan` applies them, so every later command sees the corrected labels, and a run that was trained on others is another
run. The split keeps the labels of the original files: it stays the same whatever is corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from comp.data.dataset import Dataset, Image, dataset_name
from comp.errors import UserError, did_you_mean
from comp.files import file_exists
from comp.tables import read_csv, read_table, write_csv

RELABEL_COLUMNS = ["image", "label", "suggested", "confidence", "new_label"]  # of the file that a person fills in
CORRECTION_COLUMNS = ["image", "label", "new_label"]  # label: that of the original files
UNDO_ADVICE = "remove its row, or the whole file to have the original labels"


def corrections_file(root: Path | str) -> Path:
    """Return the file of the corrections of the dataset at `root`."""
    return Path("folds", f"{dataset_name(root)}.relabel.csv")


def apply_corrections(dataset: Dataset) -> Dataset:
    """Return the dataset with its corrected labels; a correction that fits no image or no class is a UserError."""
    path = corrections_file(dataset.root)
    if not file_exists(path):
        return dataset
    table = read_csv(path, CORRECTION_COLUMNS, CORRECTION_COLUMNS)
    images = {image.id: image for image in dataset.train}
    for image, label, new_label in table.itertuples(index=False):
        if image in images and images[image].label not in (label, new_label):
            raise UserError(
                f"{path} corrects the label {label} of {image}, and it has the label {images[image].label} now; "
                f"{UNDO_ADVICE}"
            )
    return correct_labels(dataset, dict(zip(table["image"], table["new_label"], strict=True)), path)


def correct_labels(dataset: Dataset, new_labels: Mapping[str, str], source: Path) -> Dataset:
    """Return a dataset with new labels by image id; `source` is the file that errors name."""
    images = {image.id: image for image in dataset.train}
    if unknown := [image for image in new_labels if image not in images]:
        hint = did_you_mean(unknown[0], images)
        raise UserError(f"{source} has the image {unknown[0]}, and {dataset.root} has none of that id{hint}")
    for image, label in new_labels.items():
        try:
            dataset.task.encode([label])
        except UserError as error:
            raise UserError(f"{source}: the new label of {image}: {error}") from None
    train = tuple(
        replace(image, label=new_labels[image.id], original_label=image.label)
        if new_labels.get(image.id, image.label) != image.label
        else image
        for image in dataset.train
    )
    return replace(dataset, train=train)


def read_filled_labels(path: Path) -> dict[str, str]:
    """Return the column new_label of a table by image, where it is filled in; nothing for a missing file."""
    if not file_exists(path):
        return {}
    table = read_table(path)
    if missing := [name for name in ("image", "new_label") if name not in table.columns]:
        raise UserError(f"{path} has no column {missing[0]}; restore it, or write the report again")
    filled: dict[str, str] = {}
    for image, label in zip(table["image"], table["new_label"].str.strip(), strict=True):
        if label and filled.setdefault(image, label) != label:
            raise UserError(f"{path} gives {image} two new labels, {filled[image]} and {label}; remove one")
    return filled


def write_corrections(dataset: Dataset, new_labels: Mapping[str, str], source: Path) -> Dataset:
    """Add new labels to the corrections of a dataset, and return it with all of them.

    A new label that equals the original one removes the correction. Nothing is written if one cannot be applied.
    """
    corrected = {image.id: image.label or "" for image in dataset.train if image.original_label is not None}
    changed = correct_labels(dataset.original, corrected | dict(new_labels), source)
    rows = sorted(_rows(changed.train))
    path = corrections_file(dataset.root)
    if rows:
        write_csv(path, pd.DataFrame(rows, columns=CORRECTION_COLUMNS))
    else:
        path.unlink(missing_ok=True)
    return changed


def _rows(images: Sequence[Image]) -> list[tuple[str, str, str]]:
    return [(i.id, i.original_label, i.label or "") for i in images if i.original_label is not None]
