"""The CSV tables: their columns, and how they are read and written.

folds.csv      image,label,group,fold                    label = class name, fold = 0..k-1 or -1 (never validated)
oof.csv        image,label,fold,<one column per class>   probabilities, 9 digits: float32 survives the round trip
test.csv       image,<one column per class>
history.csv    one row per epoch, the columns of HISTORY_COLUMNS
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from comp.errors import UserError
from comp.files import write_atomic

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


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index; 9 digits, so that float32 survives the round trip."""
    write_atomic(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_csv(path: Path, columns: Sequence[str], text_columns: Iterable[str] = ("image", "label")) -> pd.DataFrame:
    """Read a table whose first columns must be `columns`. In `text_columns`, names such as `NA` and `007` stay text."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text_columns, str), keep_default_na=False, na_values={})
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, UnicodeDecodeError):  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} is not a readable CSV") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas made an index of the first column of longer rows
        raise UserError(f"{path} is not a readable CSV: its rows are longer than its header")
    if list(table.columns[: len(columns)]) != list(columns):
        raise UserError(
            f"{path} must begin with the columns {','.join(columns)}, "
            f"and begins with {','.join(map(str, table.columns[: len(columns)]))}"
        )
    return table


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read an oof.csv or test.csv, indexed by image. Its class columns must be `classes`, in that order."""
    table = read_csv(path, ["image"])
    class_columns = [column for column in table.columns if column not in ("image", "label", "fold")]
    if class_columns != list(classes):
        raise UserError(f"{path} has the classes {','.join(class_columns)}, not {','.join(classes)}")
    duplicated = table["image"][table["image"].duplicated()]
    if len(duplicated):
        raise UserError(f"{path} has image {duplicated.iloc[0]} twice")
    table[class_columns] = table[class_columns].apply(pd.to_numeric, errors="coerce")
    if table[class_columns].isna().any(axis=None):
        raise UserError(f"{path} has a probability that is not a number; predict again")
    return table.set_index("image")


def to_arrays(table: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (class indices of the labels, probabilities) of a table of predictions with labels."""
    indices = {label: index for index, label in enumerate(classes)}
    return table["label"].map(indices).to_numpy(), table[list(classes)].to_numpy(np.float32)
