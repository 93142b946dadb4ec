"""The CSV tables: their columns, and how they are read and written.

folds.csv      image,label,group,fold                    label = class name, fold = 0..k-1 or -1 (never validated)
history.csv    one row per epoch, the columns of HISTORY_COLUMNS
oof.csv        image,label,fold,<one column per class>   probabilities, 9 digits: float32 survives the round trip;
               after fold row_id, where several images make a row of a submission.
               For people: the kit reads oof.npz (comp/prediction_file.py), and this where an older version wrote it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from comp.errors import UserError, shorten
from comp.files import read_bytes, write_atomic
from comp.rows import ROW_COLUMN

UNNAMED = "Unnamed: 0"  # pandas' name for a first column without one
MAX_TABLE_BYTES = 2**30  # 1 GiB; the predictions of a million images for 50 classes have 600 MB
MAX_LINE_BYTES = 2**22  # 4 MiB: 10,000 classes with names of 400 bytes
MAX_COLUMNS = 100  # of a table without classes
MAX_CLASSES = 10_000  # pandas reads as many columns of 100 rows in a second
SUM_TOLERANCE = 1e-4  # of the probabilities of an image; the softmax of 1,000 classes in float32 is off by 1e-6

INDEX_COLUMNS = ["image", "label", "fold", ROW_COLUMN]  # of a table of predictions, before its classes
INDEX_TEXT_COLUMNS = ("image", "label", ROW_COLUMN)
FOLDS_COLUMNS = ["image", "label", "group", "fold"]
HISTORY_COLUMNS = [
    "epoch",
    "step",
    "lr",
    "train_loss",
    "val_loss",
    "val_score",
    "seconds",
    "images_per_second",
    "peak_memory_gb",
    "val_seconds",
]


def write_csv(path: Path, table: pd.DataFrame) -> str:
    """Write a table without its index; 9 digits, so that float32 survives the round trip. Return the bytes' SHA-256."""
    content = table.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()
    write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()


def read_csv(
    path: Path, columns: Sequence[str], text_columns: Iterable[str] = ("image", "label"), max_columns: int = MAX_COLUMNS
) -> pd.DataFrame:
    """Read a table whose first columns must be `columns`. In `text_columns`, names such as `NA` and `007` stay text."""
    return parse_csv(path, read_bytes(path, MAX_TABLE_BYTES), columns, text_columns, max_columns)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of any columns, all as text: names such as `NA` and `007` stay as they are.

    A column without a name is left out: pandas writes row numbers in one.
    """
    content = read_bytes(path, MAX_TABLE_BYTES)
    table = parse_csv(path, content, (), _read_header(path, content, MAX_CLASSES), MAX_CLASSES)
    return table.drop(columns="", errors="ignore")


def parse_csv(
    path: Path,
    content: bytes,
    columns: Sequence[str],
    text_columns: Iterable[str] = ("image", "label"),
    max_columns: int = MAX_COLUMNS,
) -> pd.DataFrame:
    """Return the table of bytes that were read from `path`. See `read_csv`."""
    header = _read_header(path, content, max_columns)
    if header[: len(columns)] != list(columns):
        raise UserError(
            f"{path} must begin with the columns {','.join(columns)}, "
            f"and begins with {shorten(','.join(header[: len(columns)]))}"
        )
    try:
        table = pd.read_csv(
            io.BytesIO(content),
            dtype=dict.fromkeys((text or UNNAMED for text in text_columns), str),
            keep_default_na=False,
            na_values={},
            low_memory=False,  # a column has one type
        )
    except (ValueError, OverflowError):  # pandas' parser errors and the UnicodeDecodeError are ValueErrors
        raise UserError(f"{path} is not a readable CSV; restore it") from None
    if list(table.columns[:1]) == [UNNAMED] and header[0] == "":
        table = table.rename(columns={UNNAMED: ""})
    if list(table.columns) != header:
        raise UserError(f"{path} is not a readable CSV: its header cannot be read; restore it")
    return table


def _read_header(path: Path, content: bytes, max_columns: int) -> list[str]:
    """Return the columns of a table; refuse what pandas reads wrongly, or for a long time.

    pandas takes the surplus columns of a longer first row as an index, renames a repeated column, and ends a text at
    a NUL.
    """
    if b"\0" in content:
        raise UserError(f"{path} is not a readable CSV: it has a NUL character; restore it")
    if any(len(line) > MAX_LINE_BYTES for line in itertools.islice(io.BytesIO(content), 2)):
        raise UserError(f"{path} is not a readable CSV: it has a line of {MAX_LINE_BYTES:,} bytes or more")
    try:
        records = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""))
        header, first_row = itertools.islice(itertools.chain(filter(None, records), [[], []]), 2)
    except (ValueError, csv.Error):
        raise UserError(f"{path} is not a readable CSV; restore it") from None
    if not header:
        raise UserError(f"{path} is not a readable CSV: it is empty; restore it")
    if len(header) > max_columns:
        raise UserError(f"{path} has {len(header):,} columns, more than the {max_columns:,} it may have; restore it")
    if len(first_row) > len(header):
        raise UserError(f"{path} is not a readable CSV: its rows are longer than its header; restore it")
    if len(set(header)) < len(header):
        duplicate = next(column for column in header if header.count(column) > 1)
        raise UserError(f"{path} has the column {shorten(duplicate)} twice; remove one")
    return header


def probability_problem(probabilities: np.ndarray) -> str:
    """Return why the values (images, classes) are not probabilities; "" if they are."""
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # neither is true of NaN
        return "a probability that is not between 0 and 1"
    if (np.abs(probabilities.sum(axis=-1) - 1) > SUM_TOLERANCE).any():
        return "an image whose probabilities do not add up to 1"
    return ""


def parse_predictions(path: Path, content: bytes) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table of predictions of bytes that were read from `path`, and its columns.

    It is indexed by image, may have `label` and `fold`, and holds float32, which survive the round trip.
    """
    table = parse_csv(path, content, ["image"], INDEX_TEXT_COLUMNS, MAX_CLASSES + len(INDEX_COLUMNS))
    columns = [column for column in table.columns if column not in INDEX_COLUMNS]
    values = table[columns]
    if not all(dtype.kind in "iuf" for dtype in values.dtypes):
        values = values.apply(pd.to_numeric, errors="coerce")
    if values.isna().any(axis=None):
        raise UserError(f"{path} has a probability that is not a number; predict again")
    predictions = pd.DataFrame(values.to_numpy(np.float32), columns=columns)
    for position, name in enumerate(column for column in INDEX_COLUMNS if column in table):
        predictions.insert(position, name, table[name])
    return predictions.set_index("image"), tuple(columns)
