"""A run's snapshots become a run of their own: of each fold the mean of its last epochs, chosen by nobody.

No image that a fold validates on has a part in it: the snapshots never saw them, and BatchNorm's statistics are those
of the last epoch's training images, augmented and mixed as they were then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from comp.engine.fit import as_shown
from comp.engine.soup import average, refresh
from comp.errors import UserError
from comp.experiment.outcome import validate, write_validation, write_weights
from comp.experiment.parts import Parts, mix_of, parts_of
from comp.experiment.setup import Setup, finished_folds, setup_of
from comp.experiment.snapshots import snapshot_epochs
from comp.experiment.summary import summarise
from comp.facts import process_facts
from comp.metrics import score
from comp.runs import RUNS, FoldDir, Run, load_checkpoint, open_run, read_run
from comp.schema import Config
from comp.tables import file_sha256, read_json


def soup_run(run: Run, device: str = "auto") -> dict[str, Any]:
    """Make what is missing of `runs/<name>+soup/`, or was made of other snapshots; the content of its metrics.json."""
    folds = _finished(run)
    path = RUNS / f"{run.name}+soup"
    there = read_run(path) if (path / "run.json").is_file() else None
    if there and "soup_of" not in there.about:
        raise UserError(f"{path} is no soup but a run of that name; move it away")
    stale = there is not None and not _made_of(there, run)
    wanted = [fold for fold in folds if not there or stale or not _is_current(run.fold(fold), there.fold(fold))]
    if not wanted and (metrics := _metrics(there)):
        print(f"{path} is there, made of the same snapshots; nothing to do")
        return metrics
    for fold in wanted:
        _refuse_gaps(run, fold)
    setup = setup_of(run, device)
    soup = open_run(_config(run), _facts(run), lambda: run.about["precision"], restart=stale)
    for fold in wanted:
        with soup.fold(fold).lock():
            _make(setup, fold, soup)
    return summarise(replace(setup, run=soup))


def refuse_no_snapshots(runs: Sequence[Run]) -> None:
    """Before any soup is made."""
    for run in runs:
        if "soup_of" in run.about:
            raise UserError(f"{run.path} is a soup already, of {run.about['soup_of']}")
        if not run.config.train.snapshots:
            raise UserError(f"{run.path} kept no snapshots; train with train.snapshots=5")
        _finished(run)


def _finished(run: Run) -> list[int | str]:
    full: list[int | str] = ["full"] if run.fold("full").done else []
    return full if full and not run.folds_done() else [*finished_folds(run, full=False), *full]


def _config(run: Run) -> Config:
    train = run.config.train.model_copy(update={"keep": "last"})  # no epoch was chosen
    return run.config.model_copy(update={"name": f"{run.name}+soup", "train": train})


def _facts(run: Run) -> dict[str, Any]:
    own = ("schema", "created", "git", "precision")
    return {**{key: value for key, value in run.about.items() if key not in own},
            "soup_of": run.name, "snapshots": run.config.train.snapshots}


def _made_of(soup: Run, run: Run) -> bool:
    """False where the run has since been trained anew, with another config or on other images."""
    return soup.config.identity() == _config(run).identity() and _facts(run).items() <= soup.about.items()


def _is_current(source: FoldDir, place: FoldDir) -> bool:
    """Snapshots that were deleted to save room make no soup old."""
    made_of = place.about().get("snapshots", {})
    return place.done and all(made_of.get(file.name) == file_sha256(file)
                              for file in source.snapshot(0).parent.glob("epoch*.pt"))


def _metrics(soup: Run) -> dict[str, Any] | None:
    """None where the process was killed between the last fold and the summary."""
    file = soup.path / "metrics.json"
    metrics = read_json(file) if file.is_file() else {}
    return metrics if metrics.get("folds_done") == soup.folds_done() else None


def _snapshots(run: Run, fold: int | str) -> list[Path]:
    place = run.fold(fold)
    return [place.snapshot(epoch) for epoch in snapshot_epochs(run.config, place.about()["epochs"])]


def _refuse_gaps(run: Run, fold: int | str) -> None:
    for file in _snapshots(run, fold):
        if not file.is_file():
            raise UserError(f"{file} is missing; restore it, or delete {run.fold(fold).weights} and train the "
                            f"fold again")


def _make(setup: Setup, fold: int | str, soup: Run) -> None:
    """Write the fold; `done` last, so that a kill repeats it and nothing more."""
    run, place, started = setup.run, soup.fold(fold), time.perf_counter()
    files, about = _snapshots(run, fold), run.fold(fold).about()
    parts, val_rows = parts_of(setup, fold, fresh=False), setup.split(fold)[1]
    try:
        model = average(parts.model, (load_checkpoint(file)["state_dict"] for file in files))
    except (KeyError, RuntimeError):
        raise UserError(f"the snapshots in {files[0].parent} do not fit {run.config.model.name}") from None
    place.begin(**process_facts(setup.device), processes=1, workers=setup.workers, memory_kept=setup.memory_kept)
    refresh(model, _last_epoch(setup, fold, parts, about["epochs"]), setup.device, setup.precision)
    said = ""
    if len(val_rows):
        probabilities = validate(setup, model, val_rows, parts.held_out(), parts.about)
        for name in ("best", "last"):
            write_validation(place.path / f"{name}.csv", setup, fold, val_rows, probabilities)
        said = f"  {run.about['metric']} {score(run.about['metric'], setup.labels[val_rows], probabilities):.4f}"
    write_weights(place.weights, soup, fold, about["epochs"], parts.about, model.state_dict())
    seconds = time.perf_counter() - started
    place.end("done", epochs=about["epochs"], kept="soup", best_epoch=None,
              seconds=round(about["seconds"] + seconds, 1),
              snapshots={file.name: file_sha256(file) for file in files}, weights_sha256=file_sha256(place.weights))
    print(f"fold {fold}  mean of {', '.join(file.stem for file in files)}{said}  {seconds:.0f} s", flush=True)


def _last_epoch(setup: Setup, fold: int | str, parts: Parts, epochs: int) -> Iterator[torch.Tensor]:
    """The images of the training's last epoch, as the model was shown them."""
    each, mix = parts.source.steps_per_epoch, mix_of(setup)
    steps = range((epochs - 1) * each, epochs * each)
    for step, batch in zip(steps, tqdm(parts.batches(steps), f"fold {fold} statistics", each, disable=None,
                                       leave=False), strict=True):
        yield as_shown(batch, step, parts.prepare, setup.device, setup.stream(fold),
                       mix if mix.active(epochs - 1) else None)[0]
