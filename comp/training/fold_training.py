"""The training of one fold: it drives the loop, scores epochs, saves, reports to observers and writes the outputs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comp.engine import distributed
from comp.engine.fit import Epoch, Step
from comp.files import file_sha256
from comp.observers.console import ConsoleObserver
from comp.observers.protocol import Observer, PauseTraining
from comp.observers.tensorboard import TensorBoardObserver
from comp.prediction.validation import write_validation
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.records.weights import WeightsFile
from comp.runs import FoldDir
from comp.tables import HISTORY_COLUMNS, write_csv
from comp.track.live import wandb_observers
from comp.training.components import TrainingComponents, build_components, fit_fold, make_train_state
from comp.training.outputs import predict_validation
from comp.training.progress import FoldProgress
from comp.training.reconstruction import reconstruct
from comp.training.setup import Setup
from comp.training.snapshots import (
    delete_snapshots,
    save_snapshot,
    should_keep_snapshot,
    snapshot_epochs,
    snapshot_hashes,
)


def prepare_training(setup: Setup, fold: Fold, fold_dir: FoldDir) -> FoldTraining:
    """Build what a fold is trained with, and pretrain it if the config says so; or restore it from resume.pt."""
    resuming = distributed.call_on_rank_zero(fold_dir.resume_path.is_file)
    components = build_components(setup, fold, use_initial_weights=not resuming)
    if setup.config.train.pretrain_epochs and not resuming:
        reconstruct(setup, fold, fold_dir, components)
    progress = FoldProgress(setup.config, make_train_state(setup, components.model), setup.origin(fold))
    if resuming:
        progress.load(fold_dir, components.train_set.steps_per_epoch, len(setup.split(fold)[1]))
    return FoldTraining(setup, fold, fold_dir, components, progress)


@dataclass(frozen=True)
class FoldTraining:
    """The training of one fold. Under torchrun every rank runs it; only rank 0 writes files and has observers."""

    setup: Setup
    fold: Fold
    fold_dir: FoldDir
    components: TrainingComponents
    progress: FoldProgress

    @property
    def is_writer(self) -> bool:
        return distributed.rank() == 0

    @property
    def val_rows(self) -> np.ndarray:
        return self.setup.split(self.fold)[1]

    def run(self, others: Sequence[Observer]) -> None:
        """Train to the end, and write the outputs. `others` observe beside the console and W&B."""
        progress = self.progress
        observers = self._make_observers(others) if self.is_writer else ()
        try:
            for event in self._events():
                if isinstance(event, Epoch):
                    self._end_epoch(event, observers)
                else:
                    for observer in observers:
                        observer.log_step(event, progress.state.images)
                self._save(event)
                if isinstance(event, Epoch) and progress.should_stop_early():
                    break
            if self.is_writer:
                self._write_outputs()
            for observer in observers:
                observer.log_end()
        except PauseTraining:
            progress.save(self.fold_dir)
            raise
        finally:
            for observer in observers:
                observer.close()

    def _events(self) -> Iterator[Step | Epoch]:
        if not self.progress.should_stop_early():  # a resumed fold may have ended with this epoch
            yield from fit_fold(self.setup, self.fold, self.components, self.progress.state)

    def _end_epoch(self, event: Epoch, observers: Sequence[Observer]) -> None:
        state = self.progress.state
        row = self._score(event)
        state.history.append(row.to_dict())
        if self.is_writer:
            table = pd.DataFrame(state.history, columns=HISTORY_COLUMNS)
            write_csv(self.fold_dir.path / "history.csv", table)
        for observer in observers:
            observer.log_epoch(self.fold, row)

    def _score(self, event: Epoch) -> HistoryRow:
        """Predict the validation images and return the epoch's row of the history, the same on every rank."""
        start, probabilities = time.perf_counter(), None
        if len(self.val_rows):
            model, batches = self.progress.state.eval_model, self.components.validation_batches()
            probabilities = predict_validation(self.setup, model, self.val_rows, batches, self.components.spec)
        seconds = time.perf_counter() - start
        scored = None if probabilities is None else self.setup.by_row(self.val_rows, probabilities)
        return distributed.call_on_rank_zero(
            lambda: self.progress.record_epoch(
                event, probabilities, scored, self.setup.task, self.setup.device, seconds
            )
        )

    def _save(self, event: Step | Epoch) -> None:
        """Save a snapshot after an epoch that may be one of the last, and the progress when it is due."""
        if not self.is_writer:
            return
        progress = self.progress
        if isinstance(event, Epoch) and should_keep_snapshot(self.setup.config, len(progress.state.history)):
            save_snapshot(self.setup, self.fold, self.fold_dir, progress, self.components.spec)
        elif progress.is_save_due():
            progress.save(self.fold_dir)

    def _make_observers(self, others: Sequence[Observer]) -> Sequence[Observer]:
        state, train_set = self.progress.state, self.components.train_set
        images_per_epoch, steps_per_epoch = len(train_set.rows), train_set.steps_per_epoch
        console = ConsoleObserver(
            self.fold,
            self.fold_dir.path / "train.log",
            self.setup.config.train.metric,
            self.setup.config.train.epochs,
            images_per_epoch,
            len(state.history) * images_per_epoch + state.images * (state.step % steps_per_epoch > 0),
        )
        if state.step:
            epoch = state.step // steps_per_epoch + 1
            console.log_line(f"fold {self.fold}  resumes at step {state.step} of epoch {epoch}")
        mirrors: list[Observer] = [*wandb_observers(self.setup.run, self.fold, self.setup.dataset)]
        if self.setup.config.log.tensorboard:
            mirrors.append(TensorBoardObserver(self.fold_dir.path / "tensorboard", len(state.history)))
        return console, *mirrors, *others

    def _write_outputs(self) -> None:
        """Write the fold's outputs, and `done` last: a kill before it repeats only this."""
        setup, fold, fold_dir, progress = self.setup, self.fold, self.fold_dir, self.progress
        epochs, best = len(progress.state.history), progress.best
        hashes = None
        if best and progress.last:
            images, results = [setup.dataset.train[row] for row in self.val_rows], (progress.last, best)
            predictions = [result.probabilities.numpy() for result in results]
            hashes = write_validation(fold_dir, images, fold, setup.run.classes, *predictions)
        kept_best = best if setup.config.train.keep == "best" else None
        weights = kept_best.weights if kept_best else progress.state.eval_model.state_dict()
        assert weights is not None, "the best epoch has its weights where they are kept"
        epoch = kept_best.row.epoch if kept_best else epochs
        WeightsFile(self.components.spec, setup.run.name, fold, epoch, weights).write(fold_dir.weights_path)
        delete_snapshots(fold_dir, snapshot_epochs(self.setup.config, epochs))
        fold_dir.mark_ended(
            "done",
            epochs=epochs,
            kept="best" if kept_best else "last",
            best_epoch=best.row.epoch if best else None,
            seconds=round(sum(row.seconds for row in progress.history), 1),
            snapshots=snapshot_hashes(fold_dir) or None,
            validation_sha256=hashes,
            weights_sha256=file_sha256(fold_dir.weights_path),
        )
        fold_dir.resume_path.unlink(missing_ok=True)
        fold_dir.pretrain_path.unlink(missing_ok=True)
