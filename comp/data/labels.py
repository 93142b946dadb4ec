"""The labels of a dataset that is not a folder per class: from a CSV, a COCO file or the names of the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from comp.errors import UserError, did_you_mean
from comp.files import read_json
from comp.records.source import DataSource
from comp.tables import read_table

MAX_METADATA_BYTES = 2**31  # 2 GiB; the COCO file of 2 million images has 1.1 GB


@dataclass(frozen=True)
class LabelRow:
    """A labelled image: its name as the labels have it, its label, and its group and row if there are any."""

    image: str
    label: str
    group: str | None = None
    row: str | None = None  # the row of a submission that it is of, with other images


def read_labels(source: DataSource) -> list[LabelRow]:
    """Return the rows of the file `source.labels`, a CSV or a COCO JSON; each image once."""
    assert source.labels is not None, "a folder per class has no file of labels"
    path = Path(source.root) / source.labels
    rows = _read_coco(path, source) if path.suffix == ".json" else _read_csv(path, source)
    return _drop_copies(path, rows)


def is_pattern(labels: str) -> bool:
    """Return whether `data.labels` is a pattern of file names rather than a file."""
    return "{label}" in labels


def label_of_name(pattern: str, name: str) -> str | None:
    """Return the label that a file name holds where `pattern` has {label}; None if it does not fit the pattern."""
    parts = [".*".join(map(re.escape, part.split("*"))) for part in pattern.split("{label}")]
    match = re.fullmatch("(.+?)".join(parts), name)
    return match[1] if match else None


def _read_csv(path: Path, source: DataSource) -> list[LabelRow]:
    table = read_table(path)
    columns = list(table.columns)
    if len(columns) < 2:
        raise UserError(f"{path} has one column, and needs one of images and one of labels; set data.labels")
    image = _column(path, columns, source.image or columns[0], "image")
    labels = [_column(path, columns, name, "label") for name in source.label or (columns[1],)]
    group = source.group and _column(path, columns, source.group, "group")
    texts = _tags_of_columns(path, table, labels, source) if len(labels) > 1 else table[labels[0]].str.strip()
    if len(labels) == 1:
        check_spelling(path, labels[0], table[image], table[labels[0]])
    if (empty := texts == "").any() and source.task != "multilabel":
        raise UserError(
            f"{path} has {int(empty.sum())} empty labels in {labels[0]}, such as that of "
            f"{table[image][empty].iloc[0]}; fill them in, or remove the rows"
        )
    groups = table[group] if group else [None] * len(table)
    row_columns = [_column(path, columns, name, "row") for name in source.row]
    row_ids = table[row_columns].agg(ROW_SEPARATOR.join, axis=1) if row_columns else [None] * len(table)
    return [LabelRow(*row) for row in zip(table[image], texts, groups, row_ids, strict=True)]


def binary_labels(source: DataSource, labels: Sequence[str]) -> list[str]:
    """Return labels with `data.positive` applied: 1 for the values that mean yes, 0 for the others."""
    if not source.positive:
        return list(labels)
    if unknown := sorted(set(source.positive) - set(labels)):
        raise UserError(f"no image has the label {unknown[0]}{did_you_mean(unknown[0], set(labels))} (data.positive)")
    return [str(int(label in source.positive)) for label in labels]


def check_spelling(path: Path, column: str, images: pd.Series, texts: pd.Series) -> None:
    """Raise a UserError for labels that stand for a missing value, or that differ in case or spaces alone."""
    if (missing := texts.str.strip().str.lower().isin(MISSING_VALUES)).any():
        raise UserError(
            f"{path} has {int(missing.sum())} labels {texts[missing].iloc[0]} in {column}, such as that of "
            f"{images[missing].iloc[0]}; fill them in, or remove the rows"
        )
    spellings: dict[str, str] = {}
    for label in texts.drop_duplicates():
        first = spellings.setdefault(" ".join(label.casefold().split()), label)
        if first != label:
            raise UserError(
                f"{path} has the labels {_visible(first)} ({int((texts == first).sum())} times) and {_visible(label)} "
                f"({int((texts == label).sum())} times) in {column}, which differ in case or spaces alone; write them "
                f"alike"
            )


def _visible(label: str) -> str:
    """Return a label in quotes whose spaces survive an error of one line."""
    return repr(label if label == " ".join(label.split()) else label.replace(" ", "\N{OPEN BOX}"))


def _column(path: Path, columns: list[str], name: str, key: str) -> str:
    if name not in columns:
        raise UserError(f"{path} has no column {name}{did_you_mean(name, columns)} (data.{key})")
    return name


def _tags_of_columns(path: Path, table: pd.DataFrame, labels: list[str], source: DataSource) -> pd.Series:
    """Return the names of the columns that hold 1, one or several per row, as a label."""
    values = table[labels].apply(pd.to_numeric, errors="coerce")
    if not values.isin([0, 1]).all(axis=None):
        raise UserError(f"{path}: the columns {', '.join(labels)[:100]} must hold 0 and 1 only (data.label)")
    if source.task == "multilabel":
        separator = source.separator or TAG_SEPARATOR
        return pd.Series(
            [
                separator.join(name for name, is_set in zip(labels, row, strict=True) if is_set)
                for row in values.to_numpy()
            ]
        )
    if (sums := values.sum(axis=1) != 1).any():
        raise UserError(
            f"{path}: {int(sums.sum())} rows have no 1 or several in {', '.join(labels)[:100]}; "
            f"set data.task=multilabel for several labels per image"
        )
    return values.idxmax(axis=1)


MISSING_VALUES = {"nan", "null", "n/a", "<na>"}  # as pandas and JSON write them; NA and None may be names
ROW_SEPARATOR = "_"  # between the values of the columns that name a row
TAG_SEPARATOR = "|"  # between the names of columns: they may hold spaces


def _read_coco(path: Path, source: DataSource) -> list[LabelRow]:
    """Return the rows of a COCO file: `images` with ids and file names, `annotations` with one category per image.

    `data.group` and `data.row` are fields of the images, such as their location.
    """
    content = read_json(path, MAX_METADATA_BYTES)
    try:
        images = {_id_of(image): image for image in content["images"]}
        rows = []
        for item in content["annotations"]:
            image = images[str(item["image_id"])]
            group_name = str(image[source.group]) if source.group else None
            row_id = ROW_SEPARATOR.join(str(image[name]) for name in source.row) or None
            rows.append(LabelRow(str(image["file_name"]), str(item["category_id"]), group_name, row_id))
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{path} is not a COCO file: images with id and file_name, annotations with image_id and category_id "
            f"({type(error).__name__}: {error})"
        ) from None
    return rows


def _id_of(image: dict[str, object]) -> str:
    return str(image["id"] if "id" in image else image["image_id"])


def _drop_copies(path: Path, rows: Iterable[LabelRow]) -> list[LabelRow]:
    """Return the rows with each image once; an image with two labels is a UserError."""
    unique: dict[str, LabelRow] = {}
    for row in rows:
        first = unique.setdefault(row.image, row)
        if first.label != row.label:
            raise UserError(
                f"{path} gives the image {row.image} two labels, {first.label} and {row.label}; remove one of the rows"
            )
    return list(unique.values())


def read_ids(source: DataSource) -> dict[str, list[str]]:
    """Return the images of each id of the sample submission, from the table `source.ids`."""
    assert source.ids is not None, "ids that are names of images need no table"
    name, _, id_column = source.ids.partition(":")
    path = Path(source.root) / name
    if path.suffix == ".json":
        content = read_json(path, MAX_METADATA_BYTES)
        images = content.get("images") if isinstance(content, dict) else content
        try:
            pairs = [(_id_of(image), str(image["file_name"])) for image in images or ()]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} must list images with an id and a file_name ({error}); fix data.ids") from None
    else:
        table = read_table(path)
        columns = list(table.columns)
        id = _column(path, columns, id_column or columns[0], "ids")
        others = [column for column in columns if column != id]
        image = source.image if source.image in columns else others[-1] if others else id
        pairs = list(zip(table[id], table[image], strict=True))
    names: dict[str, list[str]] = {}
    for id, name in pairs:
        names.setdefault(id, []).append(name)
    return names
