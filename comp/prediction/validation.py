"""Read the predictions that a training made of its validation images: fold<k>/best.csv and fold<k>/last.csv."""

from __future__ import annotations

import hashlib

import pandas as pd

from comp.errors import UserError
from comp.files import MissingFileError, read_bytes
from comp.runs import Run
from comp.tables import MAX_TABLE_BYTES, parse_predictions


def read_validation(run: Run, fold: int, epoch: str) -> pd.DataFrame:
    """Return the validation predictions of the "best" or the "last" epoch of a fold, indexed by image.

    Only a training writes them, so a file other than the recorded one is a UserError.
    """
    fold_dir = run.fold_dir(fold)
    path = fold_dir.path / f"{epoch}.csv"
    advice = f"restore it, or delete {fold_dir.weights_path} and train the fold again"
    try:
        content = read_bytes(path, MAX_TABLE_BYTES)
    except MissingFileError:
        raise UserError(f"{path} is missing; {advice}") from None
    record = fold_dir.read_record()
    recorded = record.validation_sha256 if record else None  # None: trained by a version that recorded no hash of it
    if recorded is not None and recorded.get(path.name) != hashlib.sha256(content).hexdigest():
        raise UserError(f"{path} is not what the training wrote (another sha256); {advice}")
    table = parse_predictions(path, content, run.classes, run.task.find_invalid)
    if not {"label", "fold"} <= set(table.columns) or set(table["fold"]) != {fold}:
        raise UserError(f"{path} is not of fold {fold}; {advice}")
    return table
