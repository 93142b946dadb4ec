"""The files of this project: one function to write any of them safely, and the schema of each table.

folds.csv      image,label,group,fold                    label = class name, fold = 0..k-1 or -1 (never validated)
oof.csv        image,label,fold,<one column per class>   probabilities, 9 digits: float32 survives the round trip
test.csv       image,<one column per class>
history.csv    one row per epoch, the columns of HISTORY
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

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
    write_atomic(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_csv(path: Path, columns: Sequence[str], text: Iterable[str] = ("image", "label")) -> pd.DataFrame:
    """Read a table that must begin with `columns`. Names such as `NA` and `007` stay text."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values={})
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, UnicodeDecodeError):  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} is not a readable CSV") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first column of longer rows for an index
        raise UserError(f"{path} is not a readable CSV: its rows are longer than its header")
    if list(table.columns[: len(columns)]) != list(columns):
        raise UserError(
            f"{path} must begin with the columns {','.join(columns)}, "
            f"and begins with {','.join(map(str, table.columns[: len(columns)]))}"
        )
    return table


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """An oof.csv or test.csv, indexed by image, whose class columns are exactly `classes`, in that order."""
    table = read_csv(path, ["image"])
    found = [column for column in table.columns if column not in ("image", "label", "fold")]
    if found != list(classes):
        raise UserError(f"{path} has the classes {','.join(found)}, not {','.join(classes)}")
    if table["image"].duplicated().any():
        raise UserError(f"{path} has image {table['image'][table['image'].duplicated()].iloc[0]} twice")
    table[found] = table[found].apply(pd.to_numeric, errors="coerce")
    if table[found].isna().any(axis=None):
        raise UserError(f"{path} has a probability that is no number; make it again")
    return table.set_index("image")
