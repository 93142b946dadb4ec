"""Find, create and open run directories: the contract between all programs of the kit.

runs/<name>/config.yaml            the complete config; train.py -c on it repeats the run
runs/<name>/run.json               RunRecord, written last when the run is created: a directory with it is a run
runs/<name>/fold<k>/fold.json      FoldRecord: status (running|done|failed|pruned), command, device, versions, times
runs/<name>/fold<k>/history.csv    one row per epoch; train.log: the lines printed during training
runs/<name>/fold<k>/resume.pt      what a killed training needs to resume; removed when the fold is done.
                                   pretrain.pt, pretrain.csv: the same of a reconstruction stage, and its history
runs/<name>/fold<k>/weights.pt     the kept weights, and the spec that rebuilds their model
runs/<name>/fold<k>/snapshots/epoch<e>.pt    weights of each of the last `train.snapshots` epochs, counted from 1
runs/<name>/fold<k>/model.onnx     exported from weights.pt; model.onnx.json records how well it agrees with torch.
                                   OpenVINO: model.xml, model.bin, model.openvino.json, model.openvino-bf16.json
runs/<name>/fold<k>/last.npz       validation predictions of the last epoch; best.npz: of the best, if it is another
runs/<name>/predictions/<view>/    oof.npz, test_fold<k>.npz, with hashes of what made them. oof.csv: for people.
                                   full/<view>/: by the model trained on all images. onnx/<view>/, ...: by that runtime.
                                   cost.json: milliseconds per image on each machine
runs/<name>/metrics.json           the scores of all finished folds
runs/pretrained/<name>/            a backbone trained without labels (python -m comp pretrain)
runs/<name>+soup/                  a run whose weights are the means of another run's snapshots (python -m comp soup)
What else is below runs/ is listed in docs/design.md.
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
from comp.files import file_exists, file_sha256, write_atomic
from comp.records.base import Fold
from comp.records.run import FoldRecord, FoldStatus, ProcessInfo, RunRecord
from comp.records.weights import StoredWeights, other_weights, read_weights
from comp.schema import Config
from comp.tasks import Task, make_task

RUNS = Path("runs")
BLENDS = RUNS / "blends"
PRETRAINED = "pretrained"
# below runs/; never listed as runs
RESERVED_DIRS = ("debug", ".cache", ".replaced", "checks", "blends", "reports", "served", PRETRAINED)


class RunLockedError(UserError):
    """Another process holds the lock of this fold."""


@dataclass(frozen=True)
class FoldDir:
    """The directory of one fold, trained or being trained."""

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
        """Return the snapshot of an epoch, counted from 1."""
        return self.path / "snapshots" / f"epoch{epoch}.pt"

    def read_record(self) -> FoldRecord | None:
        """Return the content of fold.json, or None for a fold that no process has begun."""
        file = self.path / "fold.json"
        return FoldRecord.read(file) if file_exists(file) else None

    def mark_running(self, process: ProcessInfo, **details: Any) -> None:
        """Write fold.json for a training that begins or resumes; `details` are further fields of it."""
        record = FoldRecord(status="running", started=_now(), **vars(process), **details)
        record.write(self.path / "fold.json")

    def mark_ended(self, status: FoldStatus, **details: Any) -> None:
        """Update fold.json: how the training ended, and further fields of the record."""
        record = self.read_record()
        if record is None:
            raise UserError(f"{self.path / 'fold.json'} is missing; run the same command again")
        replace(record, status=status, finished=_now(), **details).write(self.path / "fold.json")

    @property
    def is_done(self) -> bool:
        record = self.read_record()
        return record is not None and record.status == "done" and self.weights_path.is_file()

    def lock(self) -> contextlib.AbstractContextManager:
        """Lock the fold while it is trained, so that no second process with the same command writes here too."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(self.path / ".lock").acquire(timeout=0)
        except Timeout:
            raise RunLockedError(f"{self.path} is being trained by another process; wait for it or stop it") from None


class ReadOnlyFoldDir(FoldDir):
    """A fold directory on ranks other than 0, which write nothing and take no lock."""

    def mark_running(self, process: ProcessInfo, **details: Any) -> None:
        pass

    def mark_ended(self, status: FoldStatus, **details: Any) -> None:
        pass

    def lock(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()


@dataclass(frozen=True)
class Run:
    """A run directory with its config and record."""

    path: Path
    config: Config
    record: RunRecord  # run.json

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the model's outputs."""
        return self.record.classes

    @property
    def task(self) -> Task:
        """The kind of target that the run predicts."""
        return make_task(self.record.task_spec)

    def fold_dir(self, fold: Fold) -> FoldDir:
        """Return the directory of a fold, whether it exists or not."""
        return FoldDir(self.path / f"fold{fold}")

    def weights_sha256(self, fold: Fold) -> str:
        """Return the recorded hash of a fold's kept weights, after a check that the file still has it."""
        path, sha256 = self.fold_dir(fold).weights_path, self._recorded_sha256(fold)
        if not file_exists(path) or file_sha256(path) != sha256:
            raise other_weights(path)
        return sha256

    def read_weights(self, fold: Fold) -> StoredWeights:
        """Read a fold's kept weights; bytes other than the recorded ones are a UserError."""
        weights = read_weights(self.fold_dir(fold).weights_path, self._recorded_sha256(fold))
        weights.check_origin(self.record.name, fold, self.classes)
        return weights

    def read_snapshot(self, fold: Fold, epoch: int) -> StoredWeights:
        """Read the snapshot of an epoch, counted from 1; bytes other than the recorded ones are a UserError."""
        path, record = self.fold_dir(fold).snapshot_path(epoch), self.fold_dir(fold).read_record()
        recorded = record.snapshots if record else None  # None: trained by a version that recorded no hash of them
        weights = read_weights(path, recorded.get(path.name, "") if recorded is not None else None)
        weights.check_origin(self.record.name, fold, self.classes, epoch)
        return weights

    def _recorded_sha256(self, fold: Fold) -> str:
        record = self.fold_dir(fold).read_record()
        if record is None or record.weights_sha256 is None:
            raise UserError(f"{self.fold_dir(fold).path} has no finished training; train the fold")
        return record.weights_sha256

    def folds_done(self) -> list[int]:
        """Return the finished folds, without "full", the model trained on all images."""
        return [fold for fold in self.record.folds if self.fold_dir(fold).is_done]

    def lock(self) -> FileLock:
        """Return the lock for writing files that all folds share."""
        return FileLock(self.path / ".lock")


def open_run(config: Config, draft: RunRecord, measure: Callable[[RunRecord], RunRecord], restart: bool = False) -> Run:
    """Open the run of a config, and create it if it does not exist; refuse one made from another config or split.

    `draft` is its record before the run exists. `measure` completes it by what is measured, such as the precision. It
    is called once in a run's life, when the run is created, because a measurement could differ the next time.
    """
    path = RUNS / config.name
    for parent in path.parents:
        if file_exists(parent / "run.json"):
            raise UserError(f"{path} would be inside the run {parent}; choose another name")
    path.mkdir(parents=True, exist_ok=True)
    with FileLock(path / ".lock"):
        _check_not_soup(path, draft)
        if restart or not file_exists(path / "run.json"):
            record = measure(replace(draft, created=_now(), git=git_state()))  # may fail, so before anything changes
            if file_exists(path / "run.json"):
                archive_run(path)
            _write_config(path, config, draft)
            record.write(path / "run.json")
        run = read_run(path)
        check_unchanged(run, config, draft)
        if run.config != config:  # how it is logged, saved or read out may change at any time
            _write_config(path, config, draft)
    return Run(path, config, run.record)


def _check_not_soup(path: Path, draft: RunRecord) -> None:
    """Refuse to train into a soup: its folds would no longer be what its record says."""
    source = RunRecord.read(path / "run.json").soup_of if file_exists(path / "run.json") else None
    if source and not draft.soup_of:
        raise UserError(
            f"{path} is a soup of {source}, and a soup is not trained (make it with python -m comp soup {source}); "
            f"train under another name (--name NEW)"
        )


def _write_config(path: Path, config: Config, record: RunRecord) -> None:
    command = f"-m comp soup {record.soup_of}" if record.soup_of else f"train.py -c {path / 'config.yaml'}"
    write_atomic(path / "config.yaml", f"# python {command}\n{config.to_yaml()}")


def archive_run(path: Path) -> None:
    """Move the files of a run to runs/.replaced/, for --restart; refused while another process trains there."""
    for directory in path.glob("fold*"):
        with FoldDir(directory).lock():
            pass
    archive = RUNS / ".replaced" / f"{path.relative_to(RUNS)}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    archive.mkdir(parents=True)
    for file in path.iterdir():
        if file.name != ".lock":
            file.rename(archive / file.name)
    print(f"the old run is kept as {archive}")


def check_unchanged(run: Run, config: Config, current: RunRecord) -> None:
    """Refuse a run whose config, split, images or classes differ from the current ones."""
    ways_out = "train it under another name (--name NEW) or from scratch (--restart)"
    old, new = run.config.identity(), config.identity()
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise UserError(
                f"{run.path} was made with {key}={old.get(key)}, and this config has {new.get(key)}; {ways_out}"
            )
    for key, kind in (
        ("folds_sha256", f"split than {current.folds_file} holds now"),
        ("relabel_sha256", "set of corrected labels (python -m comp data relabel)"),
        ("image_list_sha256", "list of training images"),
        ("classes", "list of classes, or their order"),
    ):
        if getattr(run.record, key) != getattr(current, key):
            raise UserError(f"{run.path} was made with another {kind}; {ways_out}")
    if current.model_weights_sha256 not in (None, run.record.model_weights_sha256):
        raise UserError(
            f"{run.path} was made with other weights than {config.model.weights} has now (another sha256); restore "
            f"that file, or {ways_out}"
        )


def read_run(path: Path) -> Run:
    """Return the run in a directory."""
    record = RunRecord.read(path / "run.json")
    return Run(path, configs.load(path / "config.yaml")[0], record)


def list_runs() -> dict[str, Path]:
    """Return the directory of every run by name, reserved directories left out."""
    return {
        path.parent.relative_to(RUNS).as_posix(): path.parent
        for path in sorted(RUNS.rglob("run.json"))
        if path.relative_to(RUNS).parts[0] not in RESERVED_DIRS
    }


def find_runs(names: Iterable[str]) -> list[Run]:
    """Return the runs of names, paths or quoted patterns, each once, in the order given."""
    available = list_runs()
    paths: dict[Path, Path] = {}  # by resolved path: a name and a path may mean the same run
    for text in names:
        name = text.rstrip("/").removeprefix(f"{RUNS}/")
        matches = [available[match] for match in ([name] if name in available else fnmatch.filter(available, name))]
        if not matches and (Path(text) / "run.json").is_file() and name.partition("/")[0] not in RESERVED_DIRS:
            matches = [Path(text)]
        if not matches:
            hint = did_you_mean(name, available) if available else "; none is trained yet: python train.py"
            raise UserError(f"there is no run {text}{hint}")
        paths |= {path.resolve(): path for path in matches}
    return [read_run(path) for path in paths.values()]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
