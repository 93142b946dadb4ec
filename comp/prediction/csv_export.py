"""Tables of predictions as CSV, for people: `python -m comp predictions export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from comp.errors import UserError, did_you_mean
from comp.files import open_atomic
from comp.prediction_file import StoredPredictions, prediction_table, prediction_values, read_any_predictions
from comp.progress_bar import progress_bar
from comp.runs import BLENDS, RUNS, list_runs

BLOCK_VALUES = 500_000  # written at a time: half a second


def find_tables(name: str, view: str | None) -> list[Path]:
    """Return the tables of a run, of one `view` or of all, or that of a blend; none is a UserError."""
    runs = list_runs()
    blends = {file.parent.relative_to(RUNS).as_posix(): file.parent for file in sorted(BLENDS.rglob("blend.json"))}
    available = {**runs, **blends}
    path = available.get(name.rstrip("/").removeprefix(f"{RUNS}/"))
    if path is None:
        raise UserError(f"there is no run or blend {name}{did_you_mean(name, available)}")
    if path in blends.values():
        if view:
            raise UserError(f"{name} is a blend, whose predictions have no views; leave --view out")
        tables = sorted(path.glob("oof.npz"))
    else:
        tables = [file for file in sorted((path / "predictions").rglob("*.npz")) if view in (None, file.parent.name)]
    if not tables:
        of_view = f" of the view {view}" if view else ""
        raise UserError(f"{path} has no stored predictions{of_view}; predict it: python infer.py {name}")
    return tables


def export_tables(tables: list[Path]) -> Iterator[Path]:
    """Write x.csv beside each table x.npz, and test.csv, the mean of the fold models; yield each file."""
    for table in tables:
        yield _write(table.with_suffix(".csv"), read_any_predictions(table))
    views = {table.parent for table in tables if table.name.startswith("test_fold")}
    for directory in sorted(views):
        yield _write(directory / "test.csv", _mean(sorted(directory.glob("test_fold*.npz"))))


def _mean(tables: list[Path]) -> StoredPredictions:
    """Return the mean of tables of the same images and columns, of the images of the first."""
    first, *others = (read_any_predictions(table) for table in tables)
    total = prediction_values(first.table, first.columns).astype(np.float64)
    for other in others:
        total += prediction_values(other.table.loc[first.table.index], first.columns)
    index = pd.DataFrame({"image": first.table.index})
    mean = prediction_table(index, total / len(tables), first.columns).set_index("image")
    return StoredPredictions(mean, first.columns, "", None)


def _write(path: Path, stored: StoredPredictions) -> Path:
    table, rows = stored.table, max(1, BLOCK_VALUES // max(1, len(stored.columns)))
    with open_atomic(path) as file, progress_bar(total=len(table), desc=path.name) as bar:
        for start in range(0, max(1, len(table)), rows):
            block = table.iloc[start : start + rows].reset_index()
            file.write(block.to_csv(index=False, header=not start, float_format="%.9g", lineterminator="\n").encode())
            bar.update(len(block))
    return path
