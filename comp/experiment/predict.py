"""Predictions of a run: out of fold and on the test images, one file per view, made again only when weights change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from comp.data.cache import load_cache, square_for
from comp.data.folds import read_folds
from comp.data.loader import EvaluationSet, choose_workers, stream_batches
from comp.data.scan import Dataset, Image
from comp.engine.device import choose_device, keep_freed_memory
from comp.engine.predict import Network, probabilities
from comp.engine.runtime import torch_network
from comp.errors import UserError
from comp.experiment.export import exported_networks
from comp.experiment.provenance import is_current, provenance, remember
from comp.experiment.setup import dataset_of, finished_folds, load_model
from comp.runs import Run
from comp.tables import file_sha256, read_predictions, write_csv


@dataclass(frozen=True)
class Predictions:
    """Tables indexed by image, one per view; `oof` is empty for a run trained on everything."""
    oof: list[pd.DataFrame]
    test: list[pd.DataFrame]
    folds: list[int | str]         # the models asked: every finished fold, or `full`


def predict_run(run: Run, views: Sequence[str], *, device: str = "auto", full: bool = False,
                only: Sequence[int] | None = None, runtime: str = "torch") -> Predictions:
    """Every view of the OOF and test images by the run's kept weights; test is the mean over the finished folds, or
    over those asked for with `only`."""
    if runtime != "torch" and device not in ("auto", "cpu"):
        raise UserError(f"--runtime {runtime} computes on the CPU; leave out --device {device}")
    dataset = dataset_of(run)
    folds = list(only or finished_folds(run, full))
    predictor = _Predictor(run, dataset, folds, choose_device(device if runtime == "torch" else "cpu"), runtime)
    keep_freed_memory()
    return Predictions([] if full else predictor.tables("oof", views), predictor.tables("test", views), folds)


@dataclass(frozen=True)
class _Predictor:
    run: Run
    dataset: Dataset
    folds: list[int | str]
    device: torch.device
    runtime: str

    def tables(self, part: str, views: Sequence[str]) -> list[pd.DataFrame]:
        """Read what is there and made from these weights; predict the rest, all views in one pass."""
        made_from = provenance(self.run, self.dataset, part, self.folds, self.runtime)
        base = self.run.path / "predictions" / ("" if self.runtime == "torch" else self.runtime) / (
            "full" if self.folds == ["full"] else "")
        files = {view: base / view / f"{part}.csv" for view in views}
        missing = [view for view in views if not is_current(files[view], made_from)]
        if missing:
            made = self._out_of_fold(missing) if part == "oof" else self._test(missing)
            for view, table in zip(missing, made, strict=True):
                write_csv(files[view], table)
                remember(files[view], made_from)
        return [read_predictions(file, self.run.classes) for file in files.values()]

    def _out_of_fold(self, views: Sequence[str]) -> list[pd.DataFrame]:
        table = read_folds(self.run.config.folds_file, self.dataset).set_index("image")
        if file_sha256(self.run.config.folds_file) != self.run.about["folds_sha256"]:
            raise UserError(f"{self.run.path} was trained on another split than {self.run.config.folds_file} holds "
                            f"now; restore that file")
        parts: list[list[pd.DataFrame]] = [[] for _ in views]
        for fold in self.folds:
            rows = np.flatnonzero(table.loc[[i.id for i in self.dataset.train], "fold"].to_numpy() == fold)
            made = self._predict([fold], self.dataset.train, rows, views, f"fold {fold}")[0]
            for view, values in enumerate(made):
                part = self._table([self.dataset.train[row] for row in rows], values)
                part.insert(1, "label", [self.dataset.train[row].label for row in rows])
                part.insert(2, "fold", fold)
                parts[view].append(part)
        return [pd.concat(each) for each in parts]

    def _test(self, views: Sequence[str]) -> list[pd.DataFrame]:
        if not self.dataset.test:
            raise UserError(f"{self.dataset.root / 'test'} holds no images to predict")
        made = self._predict(self.folds, self.dataset.test, np.arange(len(self.dataset.test)), views, "test")
        return [self._table(self.dataset.test, values) for values in made.mean(0, dtype=np.float64)]

    def _predict(self, folds: Sequence, images: Sequence[Image], rows: np.ndarray, views: Sequence[str],
                 what: str) -> np.ndarray:
        data = self.run.config.data
        cache = load_cache(self.dataset.name, images, square_for(self.dataset.train, data.size, data.fit, data.crop))
        batches = EvaluationSet(cache, rows, data.size, self.run.config.train.batch)
        stream = stream_batches(batches, range(len(batches)), choose_workers(data.workers, self.device.type))
        watched = tqdm(stream, f"{self.run.name} {what}", len(batches), disable=None, leave=False)
        return probabilities([self._networks[fold] for fold in folds], watched, views=views, device=self.device)

    @cached_property
    def _networks(self) -> dict[int | str, Network]:
        if self.runtime != "torch":
            networks = exported_networks(self.run, self.dataset, self.folds, self.runtime)
        else:
            networks = [torch_network(*load_model(self.run.fold(fold).weights, self.device), self.device)
                        for fold in self.folds]
        return dict(zip(self.folds, networks, strict=True))

    def _table(self, images: Sequence[Image], values: np.ndarray) -> pd.DataFrame:
        table = pd.DataFrame(values, columns=list(self.run.classes))
        table.insert(0, "image", [image.id for image in images])
        return table
