"""Predictions of a run: OOF and on the test images, one file per view, computed again only when weights change.

On the test images every fold model has files of its own: a temperature is applied to each of them before they are
averaged, and a fold that is trained later adds its own predictions and computes no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
import torch

from comp.batches.loader import choose_evaluation_batch, choose_workers
from comp.data.cache import load_cache, make_square_spec
from comp.data.folds import read_folds
from comp.data.scan import Dataset, Image
from comp.engine.device import choose_device, configure_allocator
from comp.engine.predict import Network
from comp.engine.runtime import make_torch_network
from comp.errors import UserError
from comp.files import file_sha256
from comp.prediction.export import exported_network
from comp.prediction.inference import InferenceOptions, predict_images
from comp.prediction.latency import cached_latency_ms
from comp.prediction.load import finished_folds, load_model, load_run_dataset
from comp.prediction.provenance import build_provenance
from comp.prediction.tables import PredictionFiles, StaleTables, oof_table, test_table
from comp.records.base import Fold
from comp.runs import Run


@dataclass(frozen=True)
class RunPredictions:
    """Tables indexed by image; probabilities are float32, with the same bits whether read or just computed."""

    oof: list[pd.DataFrame]  # one per view; empty for a run trained on all images
    test: list[list[pd.DataFrame]]  # [fold][view]
    folds: list[Fold]  # the fold models: every finished fold, or "full"


def predict_run(
    run: Run,
    views: Sequence[str],
    *,
    device: torch.device,
    full: bool = False,
    only: Sequence[int] | None = None,
    runtime: str = "torch",
) -> RunPredictions:
    """Predict views of the OOF and test images with the kept weights of every finished fold, or of the folds `only`."""
    predictor = open_predictor(run, device=device, full=full, only=only, runtime=runtime)
    oof = [] if full else predictor.predict_oof(views)
    return RunPredictions(oof, predictor.predict_test(views), predictor.folds)


def recompute_test_probabilities(
    run: Run, folds: Sequence[Fold], views: Sequence[str], *, device: torch.device, runtime: str = "torch"
) -> np.ndarray:
    """Return float32 probabilities of shape (folds, views, test images, classes), computed from the weights.

    No file of predictions is read or written.
    """
    return open_predictor(run, device=device, only=folds, runtime=runtime).compute_test(folds, views)


def choose_prediction_device(requested: str, runtime: str) -> torch.device:
    """Return the device to predict on; runtimes other than torch compute on the CPU."""
    if runtime == "torch":
        return choose_device(requested)
    if requested not in ("auto", "cpu"):
        raise UserError(f"--runtime {runtime} computes on the CPU; remove --device {requested}")
    return torch.device("cpu")


def open_predictor(
    run: Run, *, device: torch.device, full: bool = False, only: Sequence[Fold] | None = None, runtime: str = "torch"
) -> Predictor:
    """Open a predictor, for callers that predict OOF and test images separately, for example with different views."""
    configure_allocator()
    return Predictor(run, load_run_dataset(run), list(only or finished_folds(run, full)), device, runtime)


@dataclass(frozen=True)
class Predictor:
    """Predicts with the fold models of one run; each model is loaded at its first use.

    It stays in memory until `release_networks`.
    """

    run: Run
    dataset: Dataset
    folds: list[Fold]
    device: torch.device
    runtime: str
    networks: dict[Fold, Network] = field(default_factory=dict)
    weights: dict[Fold, str] = field(default_factory=dict)  # their hashes, compared with the files at the first use

    @property
    def files(self) -> PredictionFiles:
        return PredictionFiles.of_run(self.run, self.runtime)

    def predict_oof(self, views: Sequence[str]) -> list[pd.DataFrame]:
        """Return the OOF table of each view.

        A file contains the rows of all folds; only folds whose weights changed are predicted again.
        """
        files, classes = self.files, self.run.classes
        folds = [fold for fold in self.folds if isinstance(fold, int)]
        weights = self.weights_sha256([*folds, *self.run.folds_done()])
        provenance = build_provenance(self.run, self.dataset, "oof", weights, self.runtime)
        fold_of_row = self.read_split()
        rows = {int(fold): np.flatnonzero(fold_of_row == int(fold)) for fold in weights}
        images = {fold: [self.dataset.train[row] for row in fold_rows] for fold, fold_rows in rows.items()}
        stale = StaleTables()
        tables = {view: files.read_oof(files.oof_path(view), provenance, images, stale) for view in views}
        stale.print()
        for fold in folds:
            missing_views = [view for view in views if fold not in tables[view]]
            if not missing_views:
                continue
            [probabilities] = self.compute([fold], self.dataset.train, rows[fold], missing_views, f"fold {fold}")
            for view, view_probabilities in zip(missing_views, probabilities, strict=True):
                tables[view][fold] = oof_table(images[fold], fold, view_probabilities, classes)
                table = pd.concat(tables[view][stored] for stored in sorted(tables[view]))
                files.write_oof(files.oof_path(view), table, provenance.for_folds(sorted(tables[view])))
        return [pd.concat(tables[view][fold] for fold in folds).set_index("image") for view in views]

    def read_split(self) -> np.ndarray:
        """Return the fold of each training image; refuse a split other than the one the run was trained on."""
        folds_file = self.run.config.folds_file
        if file_sha256(folds_file) != self.run.record.folds_sha256:
            raise UserError(
                f"{self.run.path} was trained on another split than {folds_file} contains now; restore that file"
            )
        split = read_folds(folds_file, self.dataset, self.run.config.folds.allow_split_groups).set_index("image")
        return split.loc[[image.id for image in self.dataset.train], "fold"].to_numpy()

    def predict_test(self, views: Sequence[str]) -> list[list[pd.DataFrame]]:
        """Return the test tables by fold and view. Folds that lack the same views are predicted in one pass."""
        if not self.dataset.test:
            raise UserError(f"{self.dataset.root / 'test'} has no images; put the images to predict there")
        files, images, stale = self.files, self.dataset.test, StaleTables()
        weights = self.weights_sha256(self.folds)
        provenance = build_provenance(self.run, self.dataset, "test", weights, self.runtime)
        tables: dict[tuple[Fold, str], pd.DataFrame] = {}
        for fold, view in product(self.folds, views):
            table = files.read_test(files.test_path(fold, view), provenance.for_folds([fold]), images, stale)
            if table is not None:
                tables[fold, view] = table
        stale.print()
        missing_views = {fold: tuple(view for view in views if (fold, view) not in tables) for fold in self.folds}
        for fold_views in dict.fromkeys(filter(None, missing_views.values())):
            folds = [fold for fold in self.folds if missing_views[fold] == fold_views]
            probabilities = self.compute_test(folds, fold_views)
            for (i, fold), (j, view) in product(enumerate(folds), enumerate(fold_views)):
                table = test_table(images, probabilities[i, j], self.run.classes)
                files.write_test(files.test_path(fold, view), table, provenance.for_folds([fold]))
                tables[fold, view] = table.set_index("image")
        return [[tables[fold, view] for view in views] for fold in self.folds]

    def compute_test(self, folds: Sequence[Fold], views: Sequence[str]) -> np.ndarray:
        """Return float32 probabilities of shape (folds, views, test images, classes), without reading any file."""
        rows = range(len(self.dataset.test))
        return self.compute(folds, self.dataset.test, rows, views, "test")

    def release_networks(self) -> None:
        """Free the memory of the networks; the next prediction loads them again."""
        self.networks.clear()

    def latency_ms(self) -> float:
        """Return the milliseconds per image, view and fold model, measured once and then read from a file.

        A stored number makes the choice of views under a time budget reproducible.
        """
        config = self.run.config
        return cached_latency_ms(
            self.files.latency_path,
            lambda: self._network(self.folds[0]),
            self.device,
            config.data.size,
            config.train.batch,
        )

    def compute(
        self,
        folds: Sequence[Fold],
        images: Sequence[Image],
        rows: Sequence[int] | np.ndarray,
        views: Sequence[str],
        title: str,
    ) -> np.ndarray:
        """Predict `views` of `rows` of `images` with the models of `folds`: (folds, views, rows, classes).

        No file of predictions is read or written.
        """
        data = self.run.config.data
        square_spec = make_square_spec(self.dataset.train, data.size, data.fit, data.crop)
        options = InferenceOptions(
            size=data.size,
            batch_size=choose_evaluation_batch(self.run.config.train.batch, self.device.type),
            device=self.device,
            workers=choose_workers(data.workers, self.device.type),
            title=f"{self.run.name} {title}",
            activate=self.run.task.activate,
        )
        squares = load_cache(self.dataset.name, images, square_spec)
        probabilities = predict_images([self._network(fold) for fold in folds], squares, rows, views, options)
        for fold, fold_probabilities in zip(folds, probabilities, strict=True):
            if problem := self.run.task.find_invalid(fold_probabilities.reshape(-1, fold_probabilities.shape[-1])):
                raise UserError(
                    f"the model of {self.run.fold_dir(fold).path} predicts {problem}; train the fold again, with a "
                    f"lower optim.lr or train.precision=fp32"
                )
        return probabilities

    def weights_sha256(self, folds: Sequence[Fold]) -> dict[str, str]:
        """Return the hash of the weights that each fold predicts with."""
        for fold in folds:
            if fold not in self.weights:
                self.weights[fold] = self.run.weights_sha256(fold)
        return {str(fold): self.weights[fold] for fold in folds}

    def _network(self, fold: Fold) -> Network:
        if fold not in self.networks:
            [expected] = self.weights_sha256([fold]).values()
            if self.runtime == "torch":
                loaded = load_model(self.run.read_weights(fold), self.device)
                if loaded.weights_sha256 != expected:
                    raise UserError(f"{self.run.fold_dir(fold).path} was trained again meanwhile; run this again")
                self.networks[fold] = make_torch_network(loaded.model, loaded.spec, self.device)
            else:
                self.networks[fold] = exported_network(self.run, self.dataset, fold, expected, self.runtime)
        return self.networks[fold]
