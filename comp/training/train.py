"""Train a run: all of its folds, or one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

import torch

from comp.data.dataset import Dataset
from comp.data.folds import parse_folds, read_folds
from comp.data.scan import scan
from comp.engine import distributed
from comp.engine.device import is_nondeterministic, is_out_of_memory, use_deterministic_algorithms
from comp.engine.precision import has_precision
from comp.environment import process_info
from comp.errors import UserError
from comp.observers.protocol import Observer, StopTraining
from comp.records.base import Fold
from comp.records.metrics import RunMetrics
from comp.records.run import RunRecord, describe_unlabelled
from comp.runs import ReadOnlyFoldDir
from comp.schema import Config
from comp.training.checks import check_training_images
from comp.training.fold_process import processes_per_device
from comp.training.fold_training import prepare_training
from comp.training.parallel_folds import train_parallel
from comp.training.setup import Setup, open_debug_setup, open_setup
from comp.training.size import check_size
from comp.training.summary import write_metrics


class Launcher(Protocol):
    """Trains the folds of a run on other machines."""

    def measure(self, config: Config, dataset: Dataset, folds: Sequence[Fold], draft: RunRecord) -> RunRecord:
        """Return the record of a new run, completed by what is measured where its folds are trained."""

    def train(self, setup: Setup, folds: Sequence[Fold], observers: Sequence[Observer] = ()) -> dict[Fold, str]:
        """Train folds at the same time, and print and return the errors of those that failed. Raise KeyboardInterrupt
        after Ctrl-C, or what an observer raised."""


class DivergedError(UserError):
    """The loss or a prediction is NaN or infinite."""


def run_experiment(
    config: Config,
    *,
    device: torch.device,
    fold: str | None = None,
    restart: bool = False,
    debug: bool = False,
    jobs: int = 1,
    observers: Sequence[Observer] = (),
    launcher: Launcher | None = None,
) -> RunMetrics:
    """Train the requested folds that are not done yet, and return the content of metrics.json.

    Folds are trained one after the other; or `jobs` at a time, each in a process of its own, without `observers`; or
    by a launcher on other machines, there too one after the other for `observers`.
    """
    if (jobs > 1 or launcher) and distributed.world_size() > 1:
        raise UserError(
            f"--{'launcher' if launcher else f'jobs {jobs}'} trains each fold in one process, and torchrun trains one "
            f"fold in several; use one of them"
        )
    dataset = scan(config.source)
    for line in dataset.left_out:
        print(f"warning: {line}", file=sys.stderr)
    split = read_folds(config.folds_file, dataset, config.folds.allow_split_groups)
    folds = parse_folds(fold, split)
    check_training_images(split, folds, dataset.task)
    check_size(split, folds, len(dataset.test), len(dataset.task.columns))
    if "full" in folds and config.schedule.name == "plateau":
        raise UserError("--fold full has no validation loss for schedule.name=plateau; use another schedule")
    processes = processes_per_device(min(jobs, len(folds)), device)
    setup = (
        open_debug_setup(config, device, folds, dataset)
        if debug
        else open_setup(
            config,
            device,
            folds,
            restart,
            dataset,
            processes,
            (lambda draft: launcher.measure(config, dataset, folds, draft)) if launcher else None,
        )
    )
    _print_start(setup, is_here=launcher is None)
    failed = _train_folds(setup, folds, jobs, observers, launcher)
    metrics = distributed.call_on_rank_zero(lambda: write_metrics(setup))
    if failed:
        raise UserError(
            f"fold {','.join(map(str, failed))} failed (see the error above); fix the cause and run the same command "
            f"again"
        )
    return metrics


def _train_folds(
    setup: Setup, folds: Sequence[Fold], jobs: int, observers: Sequence[Observer], launcher: Launcher | None
) -> Collection[Fold]:
    """Train the folds that are not done, at the same time or one after the other, and return those that failed."""
    at_once: list[Fold] = []
    if (jobs > 1 or launcher) and not (launcher and observers):
        at_once = [fold for fold in folds if not setup.run.fold_dir(fold).is_done]
    failed: Collection[Fold] = ()
    if at_once:
        failed = launcher.train(setup, at_once) if launcher else train_parallel(train_fold, setup, at_once, jobs)
    train_one = partial(_train_elsewhere, launcher) if launcher else train_fold
    for fold in folds:
        if fold not in at_once and train_one(setup, fold, observers) and fold != folds[-1]:
            distributed.call_on_rank_zero(lambda: write_metrics(setup))  # so that a run has a score from its first fold
    return failed


def _print_start(setup: Setup, is_here: bool) -> None:
    """Print what is trained, and how where the folds are trained in this process or its children."""
    config, record = setup.config, setup.run.record
    print(f"{setup.run.path}: {config.model.name}, {record.parameters:,} parameters, {config.data.size} px", flush=True)
    if is_here:
        print(f"chosen: {setup.machine_choices}", flush=True)
    if is_here and distributed.rank() == 0 and not has_precision(setup.device, setup.precision):
        print(
            f"warning: the run computes in {setup.precision}, which {setup.device} emulates, several times slower; "
            f"--name NEW starts one in another precision",
            file=sys.stderr,
        )
    if setup.batch_size != config.train.batch:
        print(f"fitted: batches of {setup.batch_size} images, {setup.accumulate} to an update", flush=True)
    if config.train.freeze_epochs:
        epochs, frozen = config.train.epochs, min(config.train.freeze_epochs, config.train.epochs)
        print(f"frozen: all but the classifier, for {frozen} of {epochs} epochs", flush=True)
    if remark := describe_unlabelled(record.unlabelled_images):
        print(f"{remark}, without their labels: its submissions say so", flush=True)


def train_fold(setup: Setup, fold: Fold, observers: Sequence[Observer] = ()) -> bool:
    """Train one fold to its end; resume it if an earlier process began it. Return False for one that was done."""
    if setup.config.train.deterministic:
        use_deterministic_algorithms(setup.device)  # for --jobs: this may be another process than the setup's
    fold_dir = setup.run.fold_dir(fold) if distributed.rank() == 0 else ReadOnlyFoldDir(setup.run.fold_dir(fold).path)
    with fold_dir.lock():
        if distributed.call_on_rank_zero(lambda: fold_dir.is_done):
            print(f"fold {fold}  already done")
            return False
        fold_dir.mark_running(
            process_info(setup.device),
            processes=distributed.world_size(),
            workers=setup.workers,
            memory_kept=setup.memory_kept,
            images=setup.image_key,
        )
        try:
            prepare_training(setup, fold, fold_dir).run(observers)
        except StopTraining:
            fold_dir.mark_ended("pruned")
            raise
        except FloatingPointError as error:
            fold_dir.mark_ended("failed", reason=str(error))
            raise DivergedError(
                f"fold {fold} of {setup.run.name}: {error}; lower optim.lr, set optim.clip=1 or "
                f"train.precision=fp32, and train again with --restart"
            ) from None
        except Exception as error:
            is_memory = isinstance(error, RuntimeError) and is_out_of_memory(error)
            with contextlib.suppress(OSError):  # the disk may be full
                reason = "the memory of the device is full" if is_memory else f"{type(error).__name__}: {error}"
                fold_dir.mark_ended("failed", reason=reason)
            if is_memory:
                raise _memory_error(setup, fold) from None
            if is_nondeterministic(error):
                raise UserError(
                    f"fold {fold} of {setup.run.name}: {str(error).partition(' does not')[0]} has no deterministic "
                    f"algorithm on {setup.device}; use another model, or train.deterministic=false with --name NEW"
                ) from None
            raise
        return True


def _train_elsewhere(launcher: Launcher, setup: Setup, fold: Fold, observers: Sequence[Observer]) -> bool:
    """Train one fold on another machine, with observers here, as `train_fold` does in this process."""
    fold_dir = setup.run.fold_dir(fold)
    if fold_dir.is_done:
        print(f"fold {fold}  already done")
        return False
    try:
        errors = launcher.train(setup, [fold], observers)
    except StopTraining:
        fold_dir.mark_ended("pruned")  # also if it ended before the request arrived: here it would have no weights
        raise
    if errors:
        raise UserError(errors[fold])
    return True


def _memory_error(setup: Setup, fold: Fold) -> UserError:
    batch, accumulate = max(1, setup.batch_size // 2), 2 * setup.accumulate
    return UserError(
        f"fold {fold} of {setup.run.name}: the memory of {setup.device} is full; halve the batch "
        f"(train.fit_memory=true, or train.batch={batch} train.accumulate={accumulate}), keep the images off the GPU "
        f"(augment.device=cpu), or use fewer --jobs; changed keys need --name NEW or --restart"
    )
