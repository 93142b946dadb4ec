"""Training runs: one fold, or a whole experiment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from comp.batches.loader import TrainingSet
from comp.data.folds import parse_folds, read_folds
from comp.data.scan import scan
from comp.engine import distributed
from comp.engine.fit import Epoch, TrainState
from comp.environment import process_info
from comp.errors import UserError
from comp.files import file_sha256
from comp.observers.console import ConsoleObserver
from comp.observers.protocol import Observer, PauseTraining, StopTraining
from comp.observers.wandb import wandb_observers
from comp.records.metrics import RunMetrics
from comp.records.weights import ModelSpec
from comp.runs import FoldDir, ReadOnlyFoldDir
from comp.schema import Config
from comp.tables import HISTORY_COLUMNS, write_csv
from comp.training.components import build_components, fit_fold, make_train_state
from comp.training.outputs import predict_validation, write_validation_csv, write_weights
from comp.training.parallel_folds import train_parallel
from comp.training.pretrain import pretrain
from comp.training.progress import FoldProgress
from comp.training.setup import Setup, open_debug_setup, open_setup
from comp.training.snapshots import delete_snapshots, save_snapshot, should_keep_snapshot, snapshot_epochs
from comp.training.summary import write_metrics


class DivergedError(UserError):
    """The loss is no longer a number."""


def run_experiment(
    config: Config,
    *,
    fold: str | None = None,
    device: str = "auto",
    restart: bool = False,
    debug: bool = False,
    jobs: int = 1,
    observers: Sequence[Observer] = (),
) -> RunMetrics:
    """Train the folds asked for that are not done yet, one after the other, or `jobs` at a time, each in a process of
    its own and unobserved; the content of metrics.json."""
    if jobs > 1 and distributed.world_size() > 1:
        raise UserError(
            f"--jobs {jobs} trains folds in processes of their own, and torchrun one fold in several; use one of them"
        )
    wanted = parse_folds(fold, read_folds(config.folds_file, scan(config.data.root)))
    if "full" in wanted and config.schedule.name == "plateau":
        raise UserError("--fold full has no validation loss for schedule.name=plateau; use another schedule")
    setup = open_debug_setup(config, device, wanted) if debug else open_setup(config, device, wanted, restart)
    print(
        f"{setup.run.path}: {config.model.name}, {setup.run.record.parameters:,} parameters, {config.data.size} px",
        flush=True,
    )
    print("chosen:", ", ".join(f"{what} {choice}" for what, choice in setup.choices.items()), flush=True)
    apart = [each for each in wanted if not setup.run.fold_dir(each).is_done] if jobs > 1 else []
    failed = train_parallel(train_fold, setup, apart, jobs) if apart else []
    for each in wanted:
        if each not in apart:
            train_fold(setup, each, observers)
    metrics = distributed.call_on_rank_zero(lambda: write_metrics(setup))
    if failed:
        raise UserError(
            f"fold {','.join(map(str, failed))} failed, as said above; mend that and give the same command again"
        )
    return metrics


def train_fold(setup: Setup, fold: int | str, observers: Sequence[Observer] = ()) -> None:
    """Train one fold to its end, from wherever an earlier process left it."""
    place = setup.run.fold_dir(fold) if distributed.rank() == 0 else ReadOnlyFoldDir(setup.run.fold_dir(fold).path)
    with place.lock():
        if distributed.call_on_rank_zero(lambda: place.is_done):
            print(f"fold {fold}  already done")
            return
        place.mark_running(
            process_info(setup.device),
            processes=distributed.world_size(),
            workers=setup.workers,
            memory_kept=setup.memory_kept,
        )
        try:
            _train(setup, fold, place, observers)
        except StopTraining:
            place.mark_ended("pruned")
            raise
        except FloatingPointError as problem:
            place.mark_ended("failed", reason=str(problem))
            raise DivergedError(
                f"fold {fold} of {setup.run.name}: {problem}; lower optim.lr, set optim.clip=1, or "
                f"train.precision=fp32, and begin with --restart"
            ) from None
        except Exception as problem:
            with contextlib.suppress(OSError):  # the disk may be full
                place.mark_ended("failed", reason=f"{type(problem).__name__}: {problem}")
            raise


def _train(setup: Setup, fold: int | str, place: FoldDir, observers: Sequence[Observer]) -> None:
    """Under torchrun all processes go through this together; only the first writes, and has observers."""
    config, device, first = setup.config, setup.device, distributed.rank() == 0
    val_rows = setup.split(fold)[1]
    resuming = distributed.call_on_rank_zero(place.resume_path.is_file)
    parts = build_components(setup, fold, fresh=not resuming)
    source, spec = parts.source, parts.spec
    if config.train.pretrain_epochs and not resuming:
        pretrain(parts.model, place, config, setup.precision, device, source, parts.batches, parts.prepare)
    progress = FoldProgress(make_train_state(setup, parts.model))
    state = progress.state
    if resuming:
        progress.load(place)
    watching = _observers(setup, fold, place, source, state, observers) if first else ()

    def score(event: Epoch) -> dict[str, Any]:
        started = time.perf_counter()
        probabilities = (
            predict_validation(setup, state.eval_model, val_rows, parts.held_out(), spec) if len(val_rows) else None
        )
        seconds = time.perf_counter() - started
        return distributed.call_on_rank_zero(
            lambda: progress.note(event, probabilities, setup.labels[val_rows], config, device, seconds)
        )

    events = () if progress.stopped_early(config) else fit_fold(setup, fold, parts, state)
    try:
        for event in events:
            if isinstance(event, Epoch):
                state.history.append(score(event))
                if first:
                    write_csv(place.path / "history.csv", pd.DataFrame(state.history, columns=HISTORY_COLUMNS))
                for observer in watching:
                    observer.log_epoch(fold, state.history[-1])
            else:
                for observer in watching:
                    observer.log_step(event, state.images)
            if first and isinstance(event, Epoch) and should_keep_snapshot(config, len(state.history)):
                save_snapshot(setup, fold, place, progress, spec)
            elif first and time.monotonic() - progress.saved > config.train.save_every:
                progress.save(place)
            if isinstance(event, Epoch) and progress.stopped_early(config):
                break
        if first:
            _write_outputs(setup, fold, place, progress, val_rows, spec)
        kept = progress.best if config.train.keep == "best" else progress.last
        for observer in watching:
            if kept:
                observer.log_predictions(setup.labels[val_rows], kept.probabilities.numpy())
    except PauseTraining:
        progress.save(place)
        raise
    finally:
        for observer in watching:
            observer.close()


def _observers(
    setup: Setup, fold: int | str, place: FoldDir, source: TrainingSet, state: TrainState, others: Sequence[Observer]
) -> Sequence[Observer]:
    """The console, W&B, and whoever else watches."""
    config, each = setup.config, len(source.rows)
    console = ConsoleObserver(
        fold,
        place.path / "train.log",
        config.train.metric,
        config.train.epochs,
        each,
        len(state.history) * each + state.images * (state.step % source.steps_per_epoch > 0),
    )
    if state.step:
        console.log_line(
            f"fold {fold}  resumes at step {state.step} of epoch {state.step // source.steps_per_epoch + 1}"
        )
    return console, *wandb_observers(setup.run, "train", f"fold{fold}"), *others


def _write_outputs(
    setup: Setup, fold: int | str, place: FoldDir, progress: FoldProgress, val_rows: np.ndarray, spec: ModelSpec
) -> None:
    """Write what the fold leaves behind; `done` last, so that a kill here repeats this and nothing more."""
    state = progress.state
    for name, seen in (("best", progress.best), ("last", progress.last)):
        if seen:
            write_validation_csv(place.path / f"{name}.csv", setup, fold, val_rows, seen.probabilities.numpy())
    keep_best = setup.config.train.keep == "best" and progress.best is not None
    weights = progress.best.weights if keep_best else state.eval_model.state_dict()
    write_weights(
        place.weights_path,
        setup.run,
        fold,
        progress.best.row["epoch"] if keep_best else len(state.history),
        spec,
        weights,
    )
    delete_snapshots(place, snapshot_epochs(setup.config, len(state.history)))
    place.mark_ended(
        "done",
        epochs=len(state.history),
        kept="best" if keep_best else "last",
        best_epoch=progress.best.row["epoch"] if progress.best else None,
        seconds=round(sum(row["seconds"] for row in state.history), 1),
        weights_sha256=file_sha256(place.weights_path),
    )
    place.resume_path.unlink(missing_ok=True)
    place.pretrain_path.unlink(missing_ok=True)
