"""Read and write the predictions that a training makes of its validation images: fold<k>/last.npz, fold<k>/best.npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.scan import Image
from comp.errors import UserError
from comp.files import MissingFileError
from comp.prediction.tables import oof_table
from comp.prediction_file import read_predictions, write_predictions
from comp.records.base import Fold
from comp.runs import FoldDir, Run


def write_validation(
    fold_dir: FoldDir, images: Sequence[Image], fold: Fold, classes: Sequence[str], last: np.ndarray, best: np.ndarray
) -> dict[str, str]:
    """Write the predictions of the last epoch, and those of the best where they are others. Return their hashes."""
    hashes = {}
    for name, probabilities in {"last.npz": last, "best.npz": best}.items():
        if name == "best.npz" and np.array_equal(best, last):
            for old in ("best.npz", "best.csv"):  # of a training before
                (fold_dir.path / old).unlink(missing_ok=True)
        else:
            table = oof_table(images, fold, probabilities, classes)
            hashes[name] = write_predictions(fold_dir.path / name, table, classes)
    return hashes


def read_validation(run: Run, fold: int, epoch: str) -> pd.DataFrame:
    """Return the validation predictions of the "best" or the "last" epoch of a fold, indexed by image.

    Only a training writes them, so a file other than the recorded one is a UserError.
    """
    fold_dir = run.fold_dir(fold)
    record = fold_dir.read_record()
    recorded = record.validation_sha256 if record else None  # None: trained by a version that recorded no hash of it
    path = validation_file(run, fold, epoch)
    advice = f"restore it, or delete {fold_dir.weights_path} and train the fold again"
    try:
        stored = read_predictions(path, run.classes, run.task.find_invalid)
    except MissingFileError:
        raise UserError(f"{path} is missing; {advice}") from None
    except UserError:
        if recorded is None:
            raise
        stored = None
    if stored is None or (recorded is not None and recorded.get(path.name) != stored.sha256):
        raise UserError(f"{path} is not what the training wrote (another sha256); {advice}")
    table = stored.table
    if not {"label", "fold"} <= set(table.columns) or set(table["fold"]) != {fold}:
        raise UserError(f"{path} is not of fold {fold}; {advice}")
    return table


def validation_file(run: Run, fold: int, epoch: str) -> Path:
    """Return the file of the "best" or the "last" epoch: a CSV in runs of older versions; last.npz where the last epoch
    is the best."""
    fold_dir = run.fold_dir(fold)
    record = fold_dir.read_record()
    names = record.validation_sha256 if record else None
    if names is None:
        return fold_dir.path / f"{epoch}.csv"
    name = next((name for name in (f"{epoch}.npz", f"{epoch}.csv", "last.npz") if name in names), f"{epoch}.npz")
    return fold_dir.path / name
