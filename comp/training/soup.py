"""Make a run of a run's snapshots: each fold is the mean of its last epochs, and no epoch is chosen.

Images that a fold is validated on have no influence: the snapshots were not trained on them, and the BatchNorm
statistics are those of the training images of the last epoch, augmented and mixed as they were then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from comp.engine.fit import prepare_batch
from comp.engine.weight_averaging import average_weights, update_batchnorm_stats
from comp.environment import process_info
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.metrics import score
from comp.prediction.load import finished_folds
from comp.prediction.validation import write_validation
from comp.progress_bar import progress_bar
from comp.records.base import Fold
from comp.records.metrics import RunMetrics
from comp.records.run import RunRecord
from comp.records.weights import WeightsFile
from comp.runs import RUNS, FoldDir, Run, open_run, read_run
from comp.schema import Config
from comp.training.components import TrainingComponents, build_components, make_mix
from comp.training.outputs import predict_validation
from comp.training.setup import Setup, setup_from_run
from comp.training.snapshots import snapshot_epochs, snapshot_hashes
from comp.training.summary import write_metrics


def make_soup(run: Run, device: torch.device) -> RunMetrics:
    """Make the folds of `runs/<name>+soup/` that are missing or were made of other snapshots; return its metrics."""
    folds = _finished_folds(run)
    path = RUNS / f"{run.name}+soup"
    existing = read_run(path) if file_exists(path / "run.json") else None
    if existing and not existing.record.soup_of:
        raise UserError(f"{path} is not a soup but another run of that name; rename it")
    stale = existing is not None and not _is_soup_of(existing, run)
    if existing is None or stale:
        missing = folds
    else:
        missing = [fold for fold in folds if not _is_current(run.fold_dir(fold), existing.fold_dir(fold))]
    if existing and not missing and (metrics := _read_metrics(existing)):
        print(f"{path} exists and was made of the same snapshots; nothing to do")
        return metrics
    for fold in missing:
        _check_snapshots_exist(run, fold)
    setup = setup_from_run(run, device)
    soup = open_run(_config(run), _soup_record(run), lambda record: record, restart=stale)
    for fold in missing:
        with soup.fold_dir(fold).lock():
            _make_fold(setup, fold, soup)
    return write_metrics(replace(setup, run=soup))


def check_has_snapshots(runs: Sequence[Run]) -> None:
    """Check that a soup can be made of every run, before any is made."""
    for run in runs:
        if run.record.soup_of:
            raise UserError(f"{run.path} is a soup already, of {run.record.soup_of}; name that run")
        if not run.config.train.snapshots:
            raise UserError(f"{run.path} kept no snapshots; train with train.snapshots=5")
        _finished_folds(run)


def _finished_folds(run: Run) -> list[Fold]:
    full: list[Fold] = ["full"] if run.fold_dir("full").is_done else []
    return full if full and not run.folds_done() else [*finished_folds(run, full=False), *full]


def _config(run: Run) -> Config:
    train = run.config.train.model_copy(update={"keep": "last"})  # no epoch was chosen
    return run.config.model_copy(update={"name": f"{run.name}+soup", "train": train})


def _soup_record(run: Run) -> RunRecord:
    return replace(run.record, name=f"{run.name}+soup", soup_of=run.name, snapshots=run.config.train.snapshots)


def _is_soup_of(soup: Run, run: Run) -> bool:
    """Return False if the run was trained again since, with another config or on other images."""
    old = soup.record
    record = replace(_soup_record(run), name=old.name, created=old.created, git=old.git, precision=old.precision)
    return soup.config.identity() == _config(run).identity() and old == record


def _is_current(source: FoldDir, soup: FoldDir) -> bool:
    """Return whether the soup's fold was made of the snapshots in `source`, and its weights are still those written.

    It stays current when the snapshots are deleted to free disk space.
    """
    record = soup.read_record()
    if record is None or not soup.is_done:
        return False
    if record.weights_sha256 != file_sha256(soup.weights_path):
        print(f"{soup.weights_path} is not what was written (another sha256), so it is made again")
        return False
    return snapshot_hashes(source).items() <= (record.snapshots or {}).items()


def _read_metrics(soup: Run) -> RunMetrics | None:
    """Return the soup's metrics; None where the process was killed between the last fold and the summary."""
    file = soup.path / "metrics.json"
    metrics = RunMetrics.read(file) if file_exists(file) else None
    return metrics if metrics and list(metrics.folds_done) == soup.folds_done() else None


def _trained_epochs(fold_dir: FoldDir) -> int:
    record = fold_dir.read_record()
    if record is None or record.epochs is None:
        raise UserError(f"{fold_dir.path} has no finished training; train the fold")
    return record.epochs


def _check_snapshots_exist(run: Run, fold: Fold) -> None:
    fold_dir = run.fold_dir(fold)
    for epoch in snapshot_epochs(run.config, _trained_epochs(fold_dir)):
        file = fold_dir.snapshot_path(epoch)
        if not file_exists(file):
            raise UserError(
                f"{file} is missing; restore it, or delete {run.fold_dir(fold).weights_path} and train the fold again"
            )


def _make_fold(setup: Setup, fold: Fold, soup: Run) -> None:
    """Average a fold's snapshots and write the soup's fold, `done` last: a kill before it repeats only this."""
    run, fold_dir, start = setup.run, soup.fold_dir(fold), time.perf_counter()
    epochs = _trained_epochs(run.fold_dir(fold))
    components = build_components(setup, fold, use_initial_weights=False)
    hashes: dict[str, str] = {}

    def read_state_dict(epoch: int) -> dict[str, torch.Tensor]:
        snapshot = run.read_snapshot(fold, epoch)
        hashes[snapshot.path.name] = snapshot.sha256
        return snapshot.file.state_dict

    try:  # one at a time: their sum is all that memory must hold
        model = average_weights(components.model, map(read_state_dict, snapshot_epochs(run.config, epochs)))
    except (KeyError, RuntimeError):
        raise UserError(
            f"the snapshots in {run.fold_dir(fold).snapshot_path(0).parent} do not fit {run.config.model.name}; train "
            f"the fold again"
        ) from None
    fold_dir.mark_running(
        process_info(setup.device),
        processes=1,
        workers=setup.workers,
        memory_kept=setup.memory_kept,
        images=setup.image_key,
    )
    images = _last_epoch_images(setup, fold, components, epochs)
    if epochs > run.config.train.freeze_epochs:  # statistics of a frozen backbone are those it was trained with
        update_batchnorm_stats(model, images, setup.device, setup.precision)
    score_text, validation_hashes = _write_validation(setup, fold, fold_dir, model, components)
    WeightsFile(components.spec, soup.name, fold, epochs, model.state_dict()).write(fold_dir.weights_path)
    seconds = time.perf_counter() - start
    source_record = run.fold_dir(fold).read_record()
    trained_seconds = source_record.seconds if source_record else None
    fold_dir.mark_ended(
        "done",
        epochs=epochs,
        kept="soup",
        best_epoch=None,
        seconds=round((trained_seconds or 0) + seconds, 1),
        snapshots=hashes,
        validation_sha256=validation_hashes or None,
        weights_sha256=file_sha256(fold_dir.weights_path),
    )
    names = ", ".join(name.removesuffix(".pt") for name in hashes)
    print(f"fold {fold}  mean of {names}{score_text}  {seconds:.0f} s", flush=True)


def _write_validation(
    setup: Setup, fold: Fold, fold_dir: FoldDir, model: torch.nn.Module, components: TrainingComponents
) -> tuple[str, dict[str, str]]:
    """Write last.npz; return the score to print and its hash."""
    rows, metric = setup.split(fold)[1], setup.run.record.metric
    probabilities = predict_validation(setup, model, rows, components.validation_batches(), components.spec)
    if probabilities is None:
        return "", {}
    images = [setup.dataset.train[row] for row in rows]
    hashes = write_validation(fold_dir, images, fold, setup.run.classes, probabilities, probabilities)
    return f"  {metric} {score(metric, *setup.by_row(rows, probabilities)):.4f}", hashes


def _last_epoch_images(setup: Setup, fold: Fold, components: TrainingComponents, epochs: int) -> Iterator[torch.Tensor]:
    """Yield the images of the training's last epoch as the model was trained on them, batch by batch."""
    steps_per_epoch, mix = components.train_set.steps_per_epoch, make_mix(setup)
    steps = range((epochs - 1) * steps_per_epoch, epochs * steps_per_epoch)
    batches = progress_bar(components.batches(steps), f"fold {fold} statistics", steps_per_epoch)
    for step, batch in zip(steps, batches, strict=True):
        active_mix = mix if mix.active(epochs - 1) else None
        yield prepare_batch(batch, step, components.prepare, setup.device, setup.rng_key(fold), active_mix)[0]
