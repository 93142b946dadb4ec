"""The tables of predictions of a run, and the files that store them.

predictions/<view>/oof.csv                 the rows of all folds
predictions/<view>/test_fold<k>.csv        by one fold model; predictions/full/<view>/test.csv: by the full model
predictions/<view>/test.csv                the mean of the fold models, for readers
predictions/cost.json                      the time that a view takes
predictions/onnx/... openvino/...          the same, by that runtime

Beside each table is its provenance, x.from.json: what it was computed from, and the hash of its content. At each read
the content is compared with it, and the rows with the images; a table that does not match is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.scan import Image
from comp.errors import UserError
from comp.files import read_bytes
from comp.records.base import Fold
from comp.records.predictions import Provenance, read_provenance, write_provenance
from comp.rows import ROW_COLUMN
from comp.runs import Run
from comp.tables import MAX_TABLE_BYTES, parse_predictions, write_csv
from comp.tasks import Task


def oof_table(images: Sequence[Image], fold: Fold, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the rows of an OOF table for the images that one fold is validated on."""
    table = test_table(images, probabilities, classes)
    table.insert(1, "label", [image.label for image in images])
    table.insert(2, "fold", fold)
    if any(image.row is not None for image in images):
        table.insert(3, ROW_COLUMN, [image.row_id for image in images])
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
    task: Task

    @classmethod
    def of_run(cls, run: Run, runtime: str) -> PredictionFiles:
        return cls(run.path / "predictions" / ("" if runtime == "torch" else runtime), run.task)

    @property
    def classes(self) -> tuple[str, ...]:
        """The columns of predictions."""
        return self.task.columns

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

    def read_test(
        self, path: Path, provenance: Provenance, images: Sequence[Image], stale: StaleTables
    ) -> pd.DataFrame | None:
        """Return a table of exactly these images, if it was computed from `provenance`; None if it must be made."""
        stored = self._read(path, stale)
        if stored is None:
            return None
        table, origin = stored[0], provenance.recognise(stored[1])
        if origin != provenance:
            stale.add(path, f"made from {origin.difference(provenance) or 'other weights'}")
        elif problem := _image_problem(table, images):
            stale.add(path, problem)
        else:
            return table
        return None

    def read_oof(
        self, path: Path, provenance: Provenance, images: Mapping[int, Sequence[Image]], stale: StaleTables
    ) -> dict[int, pd.DataFrame]:
        """Return the rows of an OOF table by fold, for the folds that need not be predicted again.

        Labels, images and runtime must match for the whole table; then the weights are compared fold by fold.
        """
        stored = self._read(path, stale)
        if stored is None:
            return {}
        table, origin = stored[0], provenance.recognise(stored[1])
        if difference := origin.difference(provenance):
            stale.add(path, f"made from {difference}")
            return {}
        if "fold" not in table or "label" not in table or not set(map(str, table["fold"])) <= set(origin.weights):
            stale.add(path, "it has rows of a fold that it does not record")
            return {}
        folds = {}
        for fold in (int(fold) for fold in origin.weights if fold in provenance.weights):
            rows = table[table["fold"] == fold]
            if origin.weights[str(fold)] != provenance.weights[str(fold)]:
                stale.add(path, f"made from other weights of fold {fold}")
            elif problem := _image_problem(rows, images[fold]):
                stale.add(path, f"fold {fold}: {problem}")
            else:
                folds[fold] = rows.reset_index()
        return folds

    def _read(self, path: Path, stale: StaleTables) -> tuple[pd.DataFrame, Provenance] | None:
        """Return a table indexed by image and what it was computed from; None without one that can be trusted."""
        if not path.is_file():
            return None
        content, origin = read_bytes(path, MAX_TABLE_BYTES), read_provenance(path)
        if origin is None:
            stale.add(path, "no file beside it says what it was made from")
        elif origin.sha256 not in (None, hashlib.sha256(content).hexdigest()):  # None: written by an older version
            stale.add(path, "its content is not what was written")
        else:
            try:
                return self.with_float32(parse_predictions(path, content, self.classes, self.task.find_invalid)), origin
            except UserError as error:
                stale.add(path, str(error).removeprefix(f"{path} ").partition(";")[0])
        return None

    def with_float32(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with the probabilities as float32, which survive the round trip through a file."""
        return table.astype(dict.fromkeys(self.classes, np.float32))

    def write(self, path: Path, table: pd.DataFrame, provenance: Provenance) -> None:
        sha256 = write_csv(path, table)
        write_provenance(path, replace(provenance, sha256=sha256))


def _image_problem(table: pd.DataFrame, images: Sequence[Image]) -> str:
    """Return how the rows differ from these images and, in an OOF table, from their labels; "" if they do not."""
    labels = {image.id: image.label for image in images}
    if missing := labels.keys() - set(table.index):
        return f"it lacks {len(missing)} images, such as {min(missing)}"
    if extra := set(table.index) - labels.keys():
        return f"it has {len(extra)} other images, such as {min(extra)}"
    stored_labels = zip(table.index, table["label"], strict=True) if "label" in table else ()
    if wrong := [image for image, label in stored_labels if labels[image] != label]:
        return f"it has another label of {len(wrong)} images, such as {min(wrong)}"
    return ""


@dataclass
class StaleTables:
    """Stored tables that cannot be used and are made again, by the reason."""

    paths: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, path: Path, reason: str) -> None:
        self.paths.setdefault(reason, []).append(path)

    def print(self) -> None:
        """Print one line per reason."""
        for reason, (path, *others) in self.paths.items():
            more = f" and {len(others)} more" if others else ""
            print(f"{path}{more}: {reason}, so {'they are' if others else 'it is'} made again")
