"""The tables of predictions of a run, and the files that store them.

predictions/<view>/oof.csv                 the rows of all folds
predictions/<view>/test_fold<k>.csv        by one fold model; predictions/full/<view>/test.csv: by the full model
predictions/<view>/test.csv                the mean of the fold models, for readers
predictions/cost.json                      the time that a view takes
predictions/onnx/... openvino/...          the same, by that runtime

Beside each table is its provenance, x.from.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.scan import Image
from comp.prediction.provenance import current_folds, write_provenance
from comp.records.base import Fold
from comp.records.predictions import Provenance
from comp.runs import Run
from comp.tables import read_predictions, write_csv


def oof_table(images: Sequence[Image], fold: Fold, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the rows of an OOF table for the images that one fold is validated on."""
    table = test_table(images, probabilities, classes)
    table.insert(1, "label", [image.label for image in images])
    table.insert(2, "fold", fold)
    return table


def test_table(images: Sequence[Image], probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return a table of an image id and a probability per class in each row."""
    table = pd.DataFrame(probabilities, columns=list(classes))
    table.insert(0, "image", [image.id for image in images])
    return table


@dataclass(frozen=True)
class PredictionFiles:
    """The files of a run's predictions by one runtime."""

    directory: Path
    classes: tuple[str, ...]

    @classmethod
    def of_run(cls, run: Run, runtime: str) -> PredictionFiles:
        return cls(run.path / "predictions" / ("" if runtime == "torch" else runtime), run.classes)

    @property
    def latency_path(self) -> Path:
        return self.directory / "cost.json"

    def oof_path(self, view: str) -> Path:
        return self.directory / view / "oof.csv"

    def test_path(self, fold: Fold, view: str) -> Path:
        if fold == "full":
            return self.directory / "full" / view / "test.csv"
        return self.directory / view / f"test_fold{fold}.csv"

    def test_mean_path(self, view: str) -> Path:
        return self.directory / view / "test.csv"

    def read(self, path: Path) -> pd.DataFrame:
        """Return a table indexed by image, with float32 probabilities."""
        return read_predictions(path, self.classes).astype(dict.fromkeys(self.classes, np.float32))

    def read_current_folds(self, path: Path, provenance: Provenance) -> dict[int, pd.DataFrame]:
        """Return the rows of an OOF table by fold, for the folds that need not be predicted again."""
        current = current_folds(path, provenance)
        if not current:
            return {}
        table = self.read(path).reset_index()
        return {fold: table[table["fold"] == fold] for fold in current if (table["fold"] == fold).any()}

    def write(self, path: Path, table: pd.DataFrame, provenance: Provenance) -> None:
        write_csv(path, table)
        write_provenance(path, provenance)
