"""The tables of predictions of a run, and the files that store them.

predictions/<view>/oof.npz                 the rows of all folds; oof.csv: the same for people, where it is small
predictions/<view>/test_fold<k>.npz        by one fold model; predictions/full/<view>/test.npz: by the full model
predictions/cost.json                      the time that a view takes
predictions/onnx/... openvino/...          the same, by that runtime

Each table contains its provenance: what it was computed from, and the hash of its content. At each read the content is
compared with it, and the rows with the images; a table that does not match is made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.scan import Image
from comp.errors import UserError
from comp.prediction_file import find_table, prediction_table, read_predictions, write_oof, write_predictions
from comp.records.base import Fold
from comp.records.predictions import Provenance
from comp.rows import ROW_COLUMN
from comp.runs import Run
from comp.tasks import Task


def oof_table(images: Sequence[Image], fold: Fold, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the rows of an OOF table for the images that one fold is validated on."""
    index = {"image": [image.id for image in images], "label": [image.label for image in images], "fold": fold}
    if any(image.row is not None for image in images):
        index[ROW_COLUMN] = [image.row_id for image in images]
    return prediction_table(pd.DataFrame(index), probabilities, classes)


def test_table(images: Sequence[Image], probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return a table of an image id and a probability per class in each row."""
    return prediction_table(pd.DataFrame({"image": [image.id for image in images]}), probabilities, classes)


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
        return self.directory / view / "oof.npz"

    def test_path(self, fold: Fold, view: str) -> Path:
        if fold == "full":
            return self.directory / "full" / view / "test.npz"
        return self.directory / view / f"test_fold{fold}.npz"

    def read_test(
        self, path: Path, provenance: Provenance, images: Sequence[Image], stale: StaleTables
    ) -> pd.DataFrame | None:
        """Return a table of exactly these images, if it was computed from `provenance`; None if it must be made."""
        file = find_table(path)
        stored = self._read(file, stale) if file else None
        if not (file and stored):
            return None
        table, origin = stored[0], provenance.recognise(stored[1])
        if origin != provenance:
            stale.add(file, f"made from {origin.difference(provenance) or 'other weights'}")
        elif problem := _image_problem(table, images):
            stale.add(file, problem)
        else:
            return table
        return None

    def read_oof(
        self, path: Path, provenance: Provenance, images: Mapping[int, Sequence[Image]], stale: StaleTables
    ) -> dict[int, pd.DataFrame]:
        """Return the rows of an OOF table by fold, for the folds that need not be predicted again.

        Labels, images and runtime must match for the whole table; then the weights are compared fold by fold.
        """
        file = find_table(path)
        stored = self._read(file, stale) if file else None
        if not (file and stored):
            return {}
        table, origin = stored[0], provenance.recognise(stored[1])
        if difference := origin.difference(provenance):
            stale.add(file, f"made from {difference}")
            return {}
        if "fold" not in table or "label" not in table or not set(map(str, table["fold"])) <= set(origin.weights):
            stale.add(file, "it has rows of a fold that it does not record")
            return {}
        folds = {}
        for fold in (int(fold) for fold in origin.weights if fold in provenance.weights):
            rows = table[table["fold"] == fold]
            if origin.weights[str(fold)] != provenance.weights[str(fold)]:
                stale.add(file, f"made from other weights of fold {fold}")
            elif problem := _image_problem(rows, images[fold]):
                stale.add(file, f"fold {fold}: {problem}")
            else:
                folds[fold] = rows.reset_index()
        return folds

    def _read(self, file: Path, stale: StaleTables) -> tuple[pd.DataFrame, Provenance] | None:
        """Return a table indexed by image and what it was computed from; None without one that can be trusted."""
        try:
            stored = read_predictions(file, self.classes, self.task.find_invalid)
        except UserError as error:
            stale.add(file, str(error).removeprefix(str(file)).lstrip(": ").partition(";")[0])
            return None
        if stored.made_from is None:
            stale.add(file, "nothing in it or beside it says what it was made from")
            return None
        return stored.table, stored.made_from

    def write_test(self, path: Path, table: pd.DataFrame, provenance: Provenance) -> None:
        write_predictions(path, table, self.classes, provenance)

    def write_oof(self, path: Path, table: pd.DataFrame, provenance: Provenance) -> None:
        write_oof(path, table, self.classes, provenance)


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
