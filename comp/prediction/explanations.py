"""Features and heat maps of a finished run's images: what its models see in them, stored beside the run.

features/oof.npz              each training image by the model of its own fold, which has not been trained on it
features/train_fold<k>.npz    all training images by one fold model: features of different models cannot be compared
features/test_fold<k>.npz     the test images by one fold model
features/heat_maps.npz        the heat maps that were computed last, by the model of the image's own fold

They are tables as those of predictions, with provenance, and are made again when weights or images change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from comp.batches.loader import EvaluationSet, choose_evaluation_batch, choose_workers, iterate_batches
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import Dataset, Image
from comp.engine.explain import find_spatial_layer, heat_maps
from comp.engine.features import compute_features
from comp.engine.precision import autocast, choose_inference_precision
from comp.engine.predict import normalise
from comp.errors import UserError
from comp.files import file_exists
from comp.prediction.load import LoadedModel, load_model
from comp.prediction.predictor import Predictor, open_predictor
from comp.prediction.provenance import build_provenance
from comp.prediction.tables import StaleTables
from comp.prediction_file import prediction_table, prediction_values, read_any_predictions, write_predictions
from comp.progress_bar import progress_bar
from comp.records.predictions import Provenance
from comp.runs import Run
from comp.zoo.classifier import classifier_layers

HEAT_MAP_BATCH = 16
KEY_SEPARATOR = "\t"  # between an image and a column: no image id has a control character


@dataclass(frozen=True, eq=False)
class Features:
    """The features and outputs of images, a row per image."""

    images: tuple[str, ...]
    folds: np.ndarray  # whose model computed each row
    features: np.ndarray  # float32 (images, numbers)
    outputs: np.ndarray  # float32 (images, outputs): logits, where the task has them


@dataclass(frozen=True)
class Explainer:
    """Computes features and heat maps with the fold models of one run; each model is loaded at its first use."""

    predictor: Predictor
    models: dict[int, LoadedModel] = field(default_factory=dict)

    @classmethod
    def open(cls, run: Run, device: torch.device) -> Explainer:
        """Return the explainer of a run with finished folds; without them, or without its images, a UserError."""
        predictor = open_predictor(run, device=device)
        if not predictor.folds:
            raise UserError(f"{run.path} has no finished fold; train one")
        return cls(predictor)

    @property
    def run(self) -> Run:
        return self.predictor.run

    @property
    def dataset(self) -> Dataset:
        return self.predictor.dataset

    @property
    def folds(self) -> list[int]:
        """The finished folds."""
        return [fold for fold in self.predictor.folds if isinstance(fold, int)]

    def oof_features(self) -> Features:
        """Return the features of the training images of all finished folds, each by the model of its own fold."""
        fold_of_row = self.predictor.read_split()
        parts = {fold: np.flatnonzero(fold_of_row == fold) for fold in self.folds}
        return self._features("oof", "oof", parts)

    def train_features(self, fold: int) -> Features:
        """Return the features of all training images by one fold model, which has been trained on most of them."""
        return self._features(f"train_fold{fold}", "oof", {fold: np.arange(len(self.dataset.train))})

    def test_features(self, fold: int) -> Features:
        """Return the features of the test images by one fold model."""
        return self._features(f"test_fold{fold}", "test", {fold: np.arange(len(self.dataset.test))})

    def heat_maps(self, keys: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return float32 heat maps (keys, side, side) of pairs of a training image and a column of the predictions.

        Each is by the model of the image's own fold. `comp.engine.explain` says what a map shows.
        """
        row_of = {image.id: row for row, image in enumerate(self.dataset.train)}
        fold_of_row, column_of = self.predictor.read_split(), {name: i for i, name in enumerate(self.run.classes)}
        rows = np.array([row_of[image] for image, _ in keys], int)
        columns = np.array([column_of[column] for _, column in keys], int)
        names = [KEY_SEPARATOR.join(key) for key in keys]
        folds = sorted({int(fold) for fold in fold_of_row[rows]})
        path, provenance = self._path("heat_maps"), self._provenance("oof", folds)
        table = self._read(path, provenance)
        if table is None or not set(names) <= set(table.index):
            maps = np.concatenate([self._compute_heat_maps(fold, rows, columns, fold_of_row) for fold in folds])
            order = np.concatenate([np.flatnonzero(fold_of_row[rows] == fold) for fold in folds])
            index = pd.DataFrame({"image": [names[i] for i in order]})
            positions = [f"position_{i}" for i in range(maps[0].size)]
            table = prediction_table(index, maps.reshape(len(maps), -1), positions)
            write_predictions(path, table, positions, provenance)
            table = table.set_index("image")
        values = table.loc[names].to_numpy(np.float32)
        side = round(values.shape[1] ** 0.5)
        return values.reshape(len(names), side, side)

    def _features(self, name: str, kind: Literal["oof", "test"], rows: dict[int, np.ndarray]) -> Features:
        """Return a table of features, read or computed; `rows` are those of the images that each model computes."""
        images = self.dataset.train if kind == "oof" else self.dataset.test
        ids = [images[row].id for part in rows.values() for row in part]
        path, provenance = self._path(name), self._provenance(kind, list(rows))
        table = self._read(path, provenance)
        if table is None or set(table.index) != set(ids):
            blocks = [self._compute_features(fold, images, part) for fold, part in rows.items()]
            features, outputs = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
            columns = [f"feature_{i}" for i in range(features.shape[1])]
            columns += [f"output_{i}" for i in range(outputs.shape[1])]
            folds = np.repeat(list(rows), [len(part) for part in rows.values()])
            index = pd.DataFrame({"image": ids, "label": "", "fold": folds})
            table = prediction_table(index, np.hstack([features, outputs]), columns)
            write_predictions(path, table, columns, provenance)
            table = table.set_index("image")
        table = table.loc[ids]
        values = prediction_values(table, [column for column in table.columns if column not in ("label", "fold")])
        numbers = values.shape[1] - self.run.task.outputs
        return Features(tuple(ids), table["fold"].to_numpy(int), values[:, :numbers], values[:, numbers:])

    def _path(self, name: str) -> Path:
        return self.run.path / "features" / f"{name}.npz"

    def _provenance(self, kind: Literal["oof", "test"], folds: Sequence[int]) -> Provenance:
        """Return what a table is computed from; labels are no part of it."""
        weights = self.predictor.weights_sha256(folds)
        return replace(build_provenance(self.run, self.dataset, kind, weights), labels=None)

    def _read(self, path: Path, provenance: Provenance) -> pd.DataFrame | None:
        """Return a stored table that was computed from `provenance`; None if it must be made."""
        if not file_exists(path):
            return None
        stale = StaleTables()
        try:
            stored = read_any_predictions(path)
            if stored.made_from == provenance:
                return stored.table
            stale.add(path, "made from other weights or images")
        except UserError as error:
            stale.add(path, str(error).removeprefix(str(path)).lstrip(": ").partition(";")[0])
        stale.print()
        return None

    def _compute_features(self, fold: int, images: Sequence[Image], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        loaded, features, outputs = self.model(fold), [], []
        classifier = next(iter(classifier_layers(loaded.model)), None)
        precision = choose_inference_precision(loaded.spec.precision, self.predictor.device)
        for batch in self._batches(loaded, images, rows, None, f"{self.run.name} features, fold {fold}"):
            with torch.no_grad(), autocast(self.predictor.device, precision):
                of_batch = compute_features(loaded.model, classifier, batch)
            features.append(of_batch[0].cpu().numpy())
            outputs.append(of_batch[1].cpu().numpy())
        return np.concatenate(features), np.concatenate(outputs)

    def _compute_heat_maps(
        self, fold: int, rows: np.ndarray, columns: np.ndarray, fold_of_row: np.ndarray
    ) -> np.ndarray:
        chosen = fold_of_row[rows] == fold
        loaded, task, maps, layer, start = self.model(fold), self.run.task, [], None, 0
        score = None if task.outputs == len(task.columns) else lambda outputs: task.activate(outputs).log()
        title = f"{self.run.name} heat maps, fold {fold}"
        for batch in self._batches(loaded, self.dataset.train, rows[chosen], HEAT_MAP_BATCH, title):
            layer = layer or find_spatial_layer(loaded.model, batch)
            of_batch = torch.from_numpy(columns[chosen][start : start + len(batch)])
            maps.append(heat_maps(loaded.model, layer, batch, of_batch, score).numpy())
            start += len(batch)
        return np.concatenate(maps)

    def _batches(
        self, loaded: LoadedModel, images: Sequence[Image], rows: np.ndarray, batch_size: int | None, title: str
    ) -> Iterator[torch.Tensor]:
        """Yield normalised images on the device, with a progress bar."""
        data, device, spec = self.run.config.data, self.predictor.device, loaded.spec
        square_spec = make_square_spec(self.dataset.train, data.size, data.fit, data.crop)
        squares = load_cache(self.dataset.name, images, square_spec)
        size = batch_size or choose_evaluation_batch(self.run.config.train.batch, device.type)
        batches = EvaluationSet(squares, rows, data.size, size)
        loaded_batches = iterate_batches(batches, range(len(batches)), choose_workers(data.workers, device.type))
        for batch in progress_bar(loaded_batches, title, len(batches)):
            yield normalise(batch, spec.mean, spec.std, device)

    def model(self, fold: int) -> LoadedModel:
        """Return the model of a fold, loaded at the first call."""
        if fold not in self.models:
            self.models[fold] = load_model(self.run.read_weights(fold), self.predictor.device)
        return self.models[fold]
