"""A run's snapshots become a run of their own: of each fold the mean of its last epochs, chosen by nobody.

No image that a fold validates on has a part in it: the snapshots never saw them, and BatchNorm's statistics are those
of the last epoch's training images, augmented and mixed as they were then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from comp.checkpoints import load_checkpoint
from comp.engine.fit import prepare_batch
from comp.engine.weight_averaging import average_weights, update_batchnorm_stats
from comp.environment import process_info
from comp.errors import UserError
from comp.files import file_sha256
from comp.metrics import score
from comp.prediction.load import finished_folds
from comp.records.metrics import RunMetrics
from comp.records.run import RunRecord
from comp.runs import RUNS, FoldDir, Run, open_run, read_run
from comp.schema import Config
from comp.training.components import TrainingComponents, build_components, make_mix
from comp.training.outputs import predict_validation, write_validation_csv, write_weights
from comp.training.setup import Setup, setup_from_run
from comp.training.snapshots import snapshot_epochs
from comp.training.summary import write_metrics


def make_soup(run: Run, device: str = "auto") -> RunMetrics:
    """Make what is missing of `runs/<name>+soup/`, or was made of other snapshots; the content of its metrics.json."""
    folds = _finished_folds(run)
    path = RUNS / f"{run.name}+soup"
    there = read_run(path) if (path / "run.json").is_file() else None
    if there and not there.record.soup_of:
        raise UserError(f"{path} is no soup but a run of that name; move it away")
    stale = there is not None and not _is_soup_of(there, run)
    wanted = [fold for fold in folds if not there or stale or not _is_current(run.fold_dir(fold), there.fold_dir(fold))]
    if not wanted and (metrics := _read_metrics(there)):
        print(f"{path} is there, made of the same snapshots; nothing to do")
        return metrics
    for fold in wanted:
        _check_snapshots_exist(run, fold)
    setup = setup_from_run(run, device)
    soup = open_run(_config(run), _soup_record(run), lambda: run.record.precision, restart=stale)
    for fold in wanted:
        with soup.fold_dir(fold).lock():
            _make_fold(setup, fold, soup)
    return write_metrics(replace(setup, run=soup))


def check_has_snapshots(runs: Sequence[Run]) -> None:
    """Before any soup is made."""
    for run in runs:
        if run.record.soup_of:
            raise UserError(f"{run.path} is a soup already, of {run.record.soup_of}")
        if not run.config.train.snapshots:
            raise UserError(f"{run.path} kept no snapshots; train with train.snapshots=5")
        _finished_folds(run)


def _finished_folds(run: Run) -> list[int | str]:
    full: list[int | str] = ["full"] if run.fold_dir("full").is_done else []
    return full if full and not run.folds_done() else [*finished_folds(run, full=False), *full]


def _config(run: Run) -> Config:
    train = run.config.train.model_copy(update={"keep": "last"})  # no epoch was chosen
    return run.config.model_copy(update={"name": f"{run.name}+soup", "train": train})


def _soup_record(run: Run) -> RunRecord:
    return replace(run.record, soup_of=run.name, snapshots=run.config.train.snapshots)


def _is_soup_of(soup: Run, run: Run) -> bool:
    """False where the run was trained again since, with another config or on other images."""
    record = replace(
        _soup_record(run), created=soup.record.created, git=soup.record.git, precision=soup.record.precision
    )
    return soup.config.identity() == _config(run).identity() and soup.record == record


def _is_current(source: FoldDir, place: FoldDir) -> bool:
    """Snapshots that were deleted to save room make no soup old."""
    made_of = (record.snapshots if (record := place.read_record()) else None) or {}
    return place.is_done and all(
        made_of.get(file.name) == file_sha256(file) for file in source.snapshot_path(0).parent.glob("epoch*.pt")
    )


def _read_metrics(soup: Run) -> RunMetrics | None:
    """Return the soup's metrics; None where the process was killed between the last fold and the summary."""
    file = soup.path / "metrics.json"
    metrics = RunMetrics.read(file) if file.is_file() else None
    return metrics if metrics and list(metrics.folds_done) == soup.folds_done() else None


def _snapshots(run: Run, fold: int | str) -> list[Path]:
    place = run.fold_dir(fold)
    return [place.snapshot_path(epoch) for epoch in snapshot_epochs(run.config, place.read_record().epochs)]


def _check_snapshots_exist(run: Run, fold: int | str) -> None:
    for file in _snapshots(run, fold):
        if not file.is_file():
            raise UserError(
                f"{file} is missing; restore it, or delete {run.fold_dir(fold).weights_path} and train the fold again"
            )


def _make_fold(setup: Setup, fold: int | str, soup: Run) -> None:
    """Write the fold; `done` last, so that a kill repeats it and nothing more."""
    run, place, started = setup.run, soup.fold_dir(fold), time.perf_counter()
    files, record = _snapshots(run, fold), run.fold_dir(fold).read_record()
    parts, val_rows = build_components(setup, fold, fresh=False), setup.split(fold)[1]
    try:
        model = average_weights(parts.model, (load_checkpoint(file)["state_dict"] for file in files))
    except (KeyError, RuntimeError):
        raise UserError(f"the snapshots in {files[0].parent} do not fit {run.config.model.name}") from None
    place.mark_running(process_info(setup.device), processes=1, workers=setup.workers, memory_kept=setup.memory_kept)
    update_batchnorm_stats(model, _last_epoch_images(setup, fold, parts, record.epochs), setup.device, setup.precision)
    said = ""
    if len(val_rows):
        probabilities = predict_validation(setup, model, val_rows, parts.held_out(), parts.spec)
        for name in ("best", "last"):
            write_validation_csv(place.path / f"{name}.csv", setup, fold, val_rows, probabilities)
        said = f"  {run.record.metric} {score(run.record.metric, setup.labels[val_rows], probabilities):.4f}"
    write_weights(place.weights_path, soup, fold, record.epochs, parts.spec, model.state_dict())
    seconds = time.perf_counter() - started
    place.mark_ended(
        "done",
        epochs=record.epochs,
        kept="soup",
        best_epoch=None,
        seconds=round(record.seconds + seconds, 1),
        snapshots={file.name: file_sha256(file) for file in files},
        weights_sha256=file_sha256(place.weights_path),
    )
    print(f"fold {fold}  mean of {', '.join(file.stem for file in files)}{said}  {seconds:.0f} s", flush=True)


def _last_epoch_images(setup: Setup, fold: int | str, parts: TrainingComponents, epochs: int) -> Iterator[torch.Tensor]:
    """The images of the training's last epoch, as the model was shown them."""
    each, mix = parts.source.steps_per_epoch, make_mix(setup)
    steps = range((epochs - 1) * each, epochs * each)
    for step, batch in zip(
        steps, tqdm(parts.batches(steps), f"fold {fold} statistics", each, disable=None, leave=False), strict=True
    ):
        yield prepare_batch(
            batch, step, parts.prepare, setup.device, setup.stream(fold), mix if mix.active(epochs - 1) else None
        )[0]
