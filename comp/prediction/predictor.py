"""Predictions of a run: out of fold and on the test images, one file per view, made again only when weights change.

On the test images there is a file per fold model too: a temperature is applied to each of them before they are
averaged, and a fold trained later costs its own predictions and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from comp.batches.loader import EvaluationSet, SquareSource, choose_workers, iterate_batches
from comp.data.cache import load_cache, make_square_spec
from comp.data.folds import read_folds
from comp.data.scan import Dataset
from comp.engine.device import choose_device, configure_allocator
from comp.engine.predict import Network, predict_probabilities
from comp.engine.runtime import make_torch_network
from comp.errors import UserError
from comp.files import file_sha256
from comp.prediction.export import exported_networks
from comp.prediction.latency import cached_latency_ms
from comp.prediction.load import finished_folds, load_model, load_run_dataset
from comp.prediction.provenance import build_provenance, current_folds, for_folds, is_current, write_provenance
from comp.runs import Run
from comp.tables import read_predictions, write_csv

Fold = int | str


@dataclass(frozen=True)
class RunPredictions:
    """Tables indexed by image; probabilities are float32, the same bits whether read or just made."""

    oof: list[pd.DataFrame]  # one per view; none for a run trained on everything
    test: list[list[pd.DataFrame]]  # [fold][view]
    folds: list[Fold]  # the models asked: every finished fold, or `full`


def predict_run(
    run: Run,
    views: Sequence[str],
    *,
    device: str = "auto",
    full: bool = False,
    only: Sequence[int] | None = None,
    runtime: str = "torch",
) -> RunPredictions:
    """Every view of the OOF and test images by the run's kept weights, of every finished fold or of those asked for
    with `only`."""
    predictor = open_predictor(run, device=device, full=full, only=only, runtime=runtime)
    oof = [] if full else predictor.out_of_fold(views)
    return RunPredictions(oof, predictor.test(views), predictor.folds)


def recompute_test_probabilities(
    run: Run, folds: Sequence[Fold], views: Sequence[str], *, device: str = "auto", runtime: str = "torch"
) -> np.ndarray:
    """float32 of shape (folds, views, test images, classes), from the weights: no file of predictions is looked at."""
    predictor = open_predictor(run, device=device, only=folds, runtime=runtime)
    return predictor.predict(folds, "test", None, views, "test")


def predict_images(
    networks: Sequence[Network],
    pixels: SquareSource,
    rows: Sequence[int],
    views: Sequence[str],
    *,
    size: int,
    batch: int,
    device: torch.device,
    workers: int,
    title: str,
) -> np.ndarray:
    """float32 of shape (networks, views, rows, classes). `pixels` are squares, however they come."""
    batches = EvaluationSet(pixels, np.asarray(rows), size, batch)
    stream = iterate_batches(batches, range(len(batches)), workers)
    watched = tqdm(stream, title, len(batches), disable=None, leave=False)
    return predict_probabilities(networks, watched, views=views, device=device)


def open_predictor(
    run: Run, *, device: str = "auto", full: bool = False, only: Sequence[Fold] | None = None, runtime: str = "torch"
) -> Predictor:
    """For who wants the parts apart: other views of the test images than of those out of fold."""
    if runtime != "torch" and device not in ("auto", "cpu"):
        raise UserError(f"--runtime {runtime} computes on the CPU; leave out --device {device}")
    configure_allocator()
    return Predictor(
        run,
        load_run_dataset(run),
        list(only or finished_folds(run, full)),
        not (only or full),
        choose_device(device if runtime == "torch" else "cpu"),
        runtime,
    )


@dataclass(frozen=True)
class Predictor:
    run: Run
    dataset: Dataset
    folds: list[Fold]
    every: bool  # these are all the finished folds
    device: torch.device
    runtime: str
    opened: dict[Fold, Network] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        return self.run.path / "predictions" / ("" if self.runtime == "torch" else self.runtime)

    def out_of_fold(self, views: Sequence[str]) -> list[pd.DataFrame]:
        """A table per view. One file has the rows of all folds; those whose weights did not change stay in it."""
        truth = read_folds(self.run.config.folds_file, self.dataset).set_index("image")
        if file_sha256(self.run.config.folds_file) != self.run.record.folds_sha256:
            raise UserError(
                f"{self.run.path} was trained on another split than {self.run.config.folds_file} holds "
                f"now; restore that file"
            )
        made_from = build_provenance(self.run, self.dataset, "oof", self.run.folds_done(), self.runtime)
        files = {view: self.base / view / "oof.csv" for view in views}
        tables = {view: self._folds_still_good(file, made_from) for view, file in files.items()}
        for fold in self.folds:
            if missing := [view for view in views if fold not in tables[view]]:
                rows = np.flatnonzero(truth.loc[[i.id for i in self.dataset.train], "fold"].to_numpy() == fold)
                images = [self.dataset.train[row] for row in rows]
                about = {"image": [i.id for i in images], "label": [i.label for i in images], "fold": fold}
                made = self.predict([fold], "train", rows, missing, f"fold {fold}")[0]
                for view, values in zip(missing, made, strict=True):
                    tables[view][fold] = self._table(about, values)
                    self._save(
                        files[view],
                        pd.concat(tables[view][each] for each in sorted(tables[view])),
                        for_folds(made_from, sorted(tables[view])),
                    )
        return [pd.concat(tables[view][fold] for fold in self.folds).set_index("image") for view in views]

    def _folds_still_good(self, file: Path, made_from: dict[str, Any]) -> dict[Fold, pd.DataFrame]:
        good = current_folds(file, made_from)
        return (
            {fold: table for fold, table in self._read(file).reset_index().groupby("fold") if fold in good}
            if good
            else {}
        )

    def test(self, views: Sequence[str]) -> list[list[pd.DataFrame]]:
        """By fold and view. Folds that lack the same views look at the images together."""
        if not self.dataset.test:
            raise UserError(f"{self.dataset.root / 'test'} holds no images to predict")
        made_from = build_provenance(self.run, self.dataset, "test", self.folds, self.runtime)
        about = {"image": [image.id for image in self.dataset.test]}
        missing = {
            fold: tuple(
                view for view in views if not is_current(self._test_file(fold, view), for_folds(made_from, [fold]))
            )
            for fold in self.folds
        }
        for which in dict.fromkeys(filter(None, missing.values())):
            folds = [fold for fold in self.folds if missing[fold] == which]
            made = self.predict(folds, "test", None, which, "test")
            for (at, fold), (column, view) in product(enumerate(folds), enumerate(which)):
                self._save(
                    self._test_file(fold, view), self._table(about, made[at, column]), for_folds(made_from, [fold])
                )
        tables = [[self._read(self._test_file(fold, view)) for view in views] for fold in self.folds]
        if self.every:
            for view, each in zip(views, zip(*tables, strict=True), strict=True):
                file = self.base / view / "test.csv"
                if not is_current(file, made_from):
                    mean = np.mean([table.to_numpy(np.float64) for table in each], axis=0)
                    self._save(file, self._table(about, mean), made_from)
        return tables

    def _test_file(self, fold: Fold, view: str) -> Path:
        return self.base / "full" / view / "test.csv" if fold == "full" else self.base / view / f"test_fold{fold}.csv"

    def predict(
        self, folds: Sequence[Fold], part: str, rows: Sequence[int] | None, views: Sequence[str], what: str
    ) -> np.ndarray:
        """By those models, those rows of the train or test images, or all."""
        data, images = self.run.config.data, getattr(self.dataset, part)
        rows = range(len(images)) if rows is None else rows
        cache = load_cache(
            self.dataset.name, images, make_square_spec(self.dataset.train, data.size, data.fit, data.crop)
        )
        return predict_images(
            [self._network(fold) for fold in folds],
            cache,
            rows,
            views,
            size=data.size,
            batch=self.run.config.train.batch,
            device=self.device,
            workers=choose_workers(data.workers, self.device.type),
            title=f"{self.run.name} {what}",
        )

    def cost(self) -> float:
        """Milliseconds per image, view and fold model. Once measured it stays: a choice that depends on it must fall
        the same way the next time."""
        config = self.run.config
        return cached_latency_ms(
            self.base / "cost.json",
            lambda: self._network(self.folds[0]),
            self.device,
            config.data.size,
            config.train.batch,
        )

    def _network(self, fold: Fold) -> Network:
        if fold not in self.opened:
            if self.runtime == "torch":
                loaded = load_model(self.run.fold_dir(fold).weights_path, self.device)
                self.opened[fold] = make_torch_network(loaded.model, loaded.spec, self.device)
            else:
                [self.opened[fold]] = exported_networks(self.run, self.dataset, [fold], self.runtime)
        return self.opened[fold]

    def _table(self, about: dict[str, Any], values: Any) -> pd.DataFrame:
        table = pd.DataFrame(values, columns=list(self.run.classes))
        for place, (column, each) in enumerate(about.items()):
            table.insert(place, column, each)
        return table

    def _save(self, file: Path, table: pd.DataFrame, made_from: dict[str, Any]) -> None:
        write_csv(file, table)
        write_provenance(file, made_from)

    def _read(self, file: Path) -> pd.DataFrame:
        return read_predictions(file, self.run.classes).astype(dict.fromkeys(self.run.classes, np.float32))
