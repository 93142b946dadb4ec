"""Predictions of a run: out of fold and on the test images, one file per view, made again only when weights change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from comp.data.cache import load_cache, square_for
from comp.data.folds import read_folds
from comp.data.loader import EvaluationSet, choose_workers, stream_batches
from comp.data.scan import Dataset, Image, scan
from comp.engine.device import choose_device, keep_freed_memory
from comp.engine.predict import predict
from comp.errors import UserError
from comp.experiment.provenance import is_current, provenance, remember
from comp.experiment.setup import load_model
from comp.runs import Run
from comp.tables import file_sha256, read_predictions, write_csv


@dataclass(frozen=True)
class Predictions:
    """Tables indexed by image, one per view; `oof` is empty for a run trained on everything."""
    oof: list[pd.DataFrame]
    test: list[pd.DataFrame]
    folds: list[int | str]         # the models asked: every finished fold, or `full`


def predict_run(run: Run, views: Sequence[str], *, device: str = "auto", full: bool = False,
                only: Sequence[int] | None = None) -> Predictions:
    """Every view of the OOF and test images by the run's kept weights; test is the mean over the finished folds, or
    over those asked for with `only`."""
    dataset = scan(run.config.data.root)
    if dataset.classes != run.classes:
        raise UserError(f"{run.path} was trained on the classes {', '.join(run.classes)}, and {dataset.root} has "
                        f"{', '.join(dataset.classes)}")
    folds = ["full"] if full else list(only or run.folds_done())
    if not folds or (full and not run.fold("full").done):
        raise UserError(f"{run.path} has no finished fold{' full' if full else ''}; train it with: python train.py "
                        f"-c {run.path}/config.yaml{' --fold full' if full else ''}")
    predictor = _Predictor(run, dataset, choose_device(device))
    keep_freed_memory()
    return Predictions([] if full else predictor.tables("oof", views, folds), predictor.tables("test", views, folds),
                       list(folds))


@dataclass(frozen=True)
class _Predictor:
    run: Run
    dataset: Dataset
    device: torch.device

    def tables(self, part: str, views: Sequence[str], folds: Sequence) -> list[pd.DataFrame]:
        """Read what is there and made from these weights; predict the rest, all views in one pass."""
        made_from = provenance(self.run, self.dataset, part, folds)
        base = self.run.path / "predictions" / ("full" if folds == ["full"] else "")
        files = {view: base / view / f"{part}.csv" for view in views}
        missing = [view for view in views if not is_current(files[view], made_from)]
        if missing:
            made = self._out_of_fold(missing, folds) if part == "oof" else self._test(missing, folds)
            for view, table in zip(missing, made, strict=True):
                write_csv(files[view], table)
                remember(files[view], made_from)
        return [read_predictions(file, self.run.classes) for file in files.values()]

    def _out_of_fold(self, views: Sequence[str], folds: Sequence[int]) -> list[pd.DataFrame]:
        table = read_folds(self.run.config.folds_file, self.dataset).set_index("image")
        if file_sha256(self.run.config.folds_file) != self.run.about["folds_sha256"]:
            raise UserError(f"{self.run.path} was trained on another split than {self.run.config.folds_file} holds "
                            f"now; restore that file")
        parts: list[list[pd.DataFrame]] = [[] for _ in views]
        for fold in folds:
            rows = np.flatnonzero(table.loc[[i.id for i in self.dataset.train], "fold"].to_numpy() == fold)
            probabilities = self._predict([fold], self.dataset.train, rows, views, f"fold {fold}")[0]
            for view, values in enumerate(probabilities):
                part = self._table([self.dataset.train[row] for row in rows], values)
                part.insert(1, "label", [self.dataset.train[row].label for row in rows])
                part.insert(2, "fold", fold)
                parts[view].append(part)
        return [pd.concat(each) for each in parts]

    def _test(self, views: Sequence[str], folds: Sequence) -> list[pd.DataFrame]:
        if not self.dataset.test:
            raise UserError(f"{self.dataset.root / 'test'} holds no images to predict")
        probabilities = self._predict(folds, self.dataset.test, np.arange(len(self.dataset.test)), views, "test")
        return [self._table(self.dataset.test, values) for values in probabilities.mean(0, dtype=np.float64)]

    def _predict(self, folds: Sequence, images: Sequence[Image], rows: np.ndarray, views: Sequence[str],
                 what: str) -> np.ndarray:
        loaded = [load_model(self.run.fold(fold).weights, self.device) for fold in folds]
        about = loaded[0][1]
        square = square_for(self.dataset.train, about["size"], about["fit"], about["crop"])
        cache = load_cache(self.dataset.name, images, square)
        batches = EvaluationSet(cache, rows, about["size"], self.run.config.train.batch)
        stream = stream_batches(batches, range(len(batches)), choose_workers(self.run.config.data.workers,
                                                                             self.device.type))
        return predict([model for model, _ in loaded], tqdm(stream, f"{self.run.name} {what}", len(batches),
                                                            disable=None, leave=False),
                       views=views, mean=about["mean"], std=about["std"], device=self.device,
                       precision=about["precision"])

    def _table(self, images: Sequence[Image], values: np.ndarray) -> pd.DataFrame:
        table = pd.DataFrame(values, columns=list(self.run.classes))
        table.insert(0, "image", [image.id for image in images])
        return table
