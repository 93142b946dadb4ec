"""The run directory, a contract between the programs here and whatever reads runs after them.

runs/<name>/config.yaml            every choice; train.py -c on it repeats the run
runs/<name>/run.json               written once and last, at creation: a directory with it is a run. Schema version,
                                   git state, seed, precision, where it augments, classes in order, hashes of
                                   split and image list
runs/<name>/fold<k>/fold.json      status (running|done|failed|pruned), command, device, processes, threads,
                                   versions, times
runs/<name>/fold<k>/history.csv    one row per epoch
runs/<name>/fold<k>/train.log      the same as people read it
runs/<name>/fold<k>/resume.pt      everything to go on; removed when the fold is done. pretrain.pt and
                                   pretrain.csv: the same, and the history, of a reconstruction stage before
runs/<name>/fold<k>/weights.pt     the kept weights and the recipe that rebuilds their model
runs/<name>/fold<k>/snapshots/epoch<e>.pt    the same of each of the last `train.snapshots` epochs, counted from 1;
                                   while it trains, perhaps of some before
runs/<name>+soup/                  their mean, a run like any other (python -m comp soup): run.json says of which
                                   run, fold.json of which snapshots
runs/<name>/fold<k>/model.onnx     the same, exported and found to agree: see model.onnx.json. model.xml, model.bin
                                   and model.openvino.json likewise (comp/prediction/export.py)
runs/<name>/fold<k>/best.csv last.csv    validation predictions of the best and the last epoch
runs/<name>/predictions/<view>/    oof.csv, test_fold<k>.csv, test.csv (their mean), and beside each a .from.json:
                                   which weights made it. cost.json above: what a view takes on which machine.
                                   predictions/full/<view>/: by the model trained on everything;
                                   predictions/onnx/... and openvino/...: the same by that runtime
runs/blends/<name>/                what infer.py learnt, how good it is and why (comp/blending/explain.py)
runs/bundles/<submission>.zip      rehearsed, for notebooks without internet (comp/ship/bundle.py)
runs/papers/<paper>/table.*        reported beside measured (python -m comp reproduce)
runs/submissions/<dataset>.png     CV against LB (python -m comp submit status)
runs/<name>/metrics.json           the scores of every fold that is done; complete when all are
"""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from comp import config as configs
from comp.environment import git_state
from comp.errors import UserError, did_you_mean
from comp.files import write_atomic
from comp.records.run import FoldRecord, ProcessInfo, RunRecord
from comp.schema import Config

RUNS = Path("runs")
BLENDS = RUNS / "blends"
RESERVED_DIRS = ("debug", ".cache", ".replaced", "checks", "blends")  # below runs/, and no runs anybody looks for


class RunLockedError(UserError):
    """Another process works on this."""


@dataclass(frozen=True)
class FoldDir:
    """One trained fold of a run, or one being trained."""

    path: Path

    @property
    def resume_path(self) -> Path:
        return self.path / "resume.pt"

    @property
    def pretrain_path(self) -> Path:
        return self.path / "pretrain.pt"

    @property
    def weights_path(self) -> Path:
        return self.path / "weights.pt"

    def snapshot_path(self, epoch: int) -> Path:
        """Of an epoch counted from 1."""
        return self.path / "snapshots" / f"epoch{epoch}.pt"

    def read_record(self) -> FoldRecord | None:
        """Return the content of fold.json, or None for a fold that no process has begun."""
        file = self.path / "fold.json"
        return FoldRecord.read(file) if file.is_file() else None

    def mark_running(self, process: ProcessInfo, **details: Any) -> None:
        """Write fold.json for a training that begins or resumes; `details` are further fields of it."""
        record = FoldRecord(status="running", started=_now(), **vars(process), **details)
        record.write(self.path / "fold.json")

    def mark_ended(self, status: str, **details: Any) -> None:
        """Update fold.json: how the training ended, and further fields of the record."""
        record = replace(self.read_record(), status=status, finished=_now(), **details)
        record.write(self.path / "fold.json")

    @property
    def is_done(self) -> bool:
        record = self.read_record()
        return record is not None and record.status == "done" and self.weights_path.is_file()

    def lock(self) -> contextlib.AbstractContextManager:
        """Held while training: a second process with the same command must not write here too."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(self.path / ".lock").acquire(timeout=0)
        except Timeout:
            raise RunLockedError(f"{self.path} is being trained by another process; wait for it or stop it") from None


class ReadOnlyFoldDir(FoldDir):
    """The same to a process that helps to train the fold: another one writes, and holds the lock."""

    def mark_running(self, process: ProcessInfo, **details: Any) -> None:
        pass

    def mark_ended(self, status: str, **details: Any) -> None:
        pass

    def lock(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()


@dataclass(frozen=True)
class Run:
    path: Path
    config: Config
    record: RunRecord  # run.json

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.record.classes

    def fold_dir(self, fold: int | str) -> FoldDir:
        return FoldDir(self.path / f"fold{fold}")

    def folds_done(self) -> list[int]:
        return [fold for fold in self.record.folds if self.fold_dir(fold).is_done]

    def lock(self) -> FileLock:
        return FileLock(self.path / ".lock")


def open_run(config: Config, draft: RunRecord, choose_precision: Callable[[], str], restart: bool = False) -> Run:
    """Open the run of a config, and create it if it does not exist; refuse one made from another config or split.

    `draft` is its record before the run exists. `choose_precision` is called once in a run's life, when the run is
    created: a choice made by timing could fall differently the next time.
    """
    path = RUNS / config.name
    for parent in path.parents:
        if (parent / "run.json").is_file():
            raise UserError(f"{path} would be inside the run {parent}; choose another name")
    path.mkdir(parents=True, exist_ok=True)
    with FileLock(path / ".lock"):
        _check_not_soup(path, draft)
        if restart and (path / "run.json").is_file():
            _archive_run(path)
        if not (path / "run.json").is_file():
            _write_config(path, config, draft)
            record = replace(draft, created=_now(), git=git_state(), precision=choose_precision())
            record.write(path / "run.json")
        run = read_run(path)
        check_unchanged(run, config, draft)
        if run.config != config:  # how it is logged, saved or read out may change at any time
            _write_config(path, config, draft)
    return Run(path, config, run.record)


def _check_not_soup(path: Path, draft: RunRecord) -> None:
    """Refuse to train into a soup: its folds would no longer be what its record says."""
    source = RunRecord.read(path / "run.json").soup_of if (path / "run.json").is_file() else None
    if source and not draft.soup_of:
        raise UserError(
            f"{path} is a soup of {source}, which is not trained but made (python -m comp soup {source}); "
            f"train under another name (--name NEW)"
        )


def _write_config(path: Path, config: Config, record: RunRecord) -> None:
    again = f"-m comp soup {record.soup_of}" if record.soup_of else f"train.py -c {path / 'config.yaml'}"
    write_atomic(path / "config.yaml", f"# python {again}\n{config.to_yaml()}")


def _archive_run(path: Path) -> None:
    """--restart loses nothing: the old files move to runs/.replaced/. Refused while another process trains there."""
    for folder in path.glob("fold*"):
        with FoldDir(folder).lock():
            pass
    aside = RUNS / ".replaced" / f"{path.relative_to(RUNS)}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    aside.mkdir(parents=True)
    for file in path.iterdir():
        if file.name != ".lock":
            file.rename(aside / file.name)
    print(f"the old run is kept as {aside}")


def check_unchanged(run: Run, config: Config, current: RunRecord) -> None:
    """Refuse a run whose config, split, images or classes differ from the current ones."""
    ways_out = "train it under another name (--name NEW) or afresh (--restart)"
    old, new = run.config.identity(), config.identity()
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise UserError(
                f"{run.path} was made with {key}={old.get(key)}, and this asks for {new.get(key)}; {ways_out}"
            )
    for key, what in (
        ("folds_sha256", f"split than {current.folds_file} holds now"),
        ("image_list_sha256", "list of training images"),
        ("classes", "list of classes, or their order"),
    ):
        if getattr(run.record, key) != getattr(current, key):
            raise UserError(f"{run.path} was made with another {what}; {ways_out}")


def read_run(path: Path) -> Run:
    """Return the run in a directory."""
    record = RunRecord.read(path / "run.json")
    return Run(path, configs.load(path / "config.yaml")[0], record)


def list_runs() -> dict[str, Path]:
    """Every run anybody looks for, by name."""
    return {
        path.parent.relative_to(RUNS).as_posix(): path.parent
        for path in sorted(RUNS.rglob("run.json"))
        if path.relative_to(RUNS).parts[0] not in RESERVED_DIRS
    }


def find_runs(wanted: Iterable[str]) -> list[Run]:
    """Runs by name, path or quoted pattern, each once, in the order asked."""
    known = list_runs()
    found: dict[Path, Path] = {}  # by where it really is: a name and a path may mean the same run
    for text in wanted:
        name = text.rstrip("/").removeprefix(f"{RUNS}/")
        matches = [known[match] for match in ([name] if name in known else fnmatch.filter(known, name))]
        if not matches and (Path(text) / "run.json").is_file() and name.partition("/")[0] not in RESERVED_DIRS:
            matches = [Path(text)]
        if not matches:
            there = did_you_mean(name, known) if known else "; none is trained yet: python train.py"
            raise UserError(f"there is no run {text}{there}")
        found |= {path.resolve(): path for path in matches}
    return [read_run(path) for path in found.values()]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
