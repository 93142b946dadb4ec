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
                                       and model.openvino.json likewise (comp/experiment/export.py)
    runs/<name>/fold<k>/best.csv last.csv    validation predictions of the best and the last epoch
    runs/<name>/predictions/<view>/    oof.csv, test_fold<k>.csv, test.csv (their mean), and beside each a .from.json:
                                       which weights made it. cost.json above: what a view takes on which machine.
                                       predictions/full/<view>/: by the model trained on everything;
                                       predictions/onnx/... and openvino/...: the same by that runtime
    runs/bundles/<submission>.zip      rehearsed, for notebooks without internet (comp/ship/bundle.py)
    runs/papers/<paper>/table.*        reported beside measured (python -m comp reproduce)
    runs/submissions/<dataset>.png     CV against LB (python -m comp submit status)
    runs/<name>/metrics.json           the scores of every fold that is done; complete when all are
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from comp import config as configs
from comp.errors import UserError, nearest
from comp.schema import Config
from comp.tables import read_json, write_atomic, write_json

if TYPE_CHECKING:
    import torch  # else only where there are tensors: who reads what runs say of themselves need not wait for it

RUNS = Path("runs")
BLENDS = RUNS / "blends"
SCHEMA = 1
APART = ("debug", ".cache", ".replaced", "checks", "blends")  # below runs/, and no runs anybody looks for


class Busy(UserError):
    """Another process works on this."""


@dataclass(frozen=True)
class FoldDir:
    """One trained fold of a run, or one being trained."""
    path: Path

    @property
    def resume(self) -> Path:
        return self.path / "resume.pt"

    @property
    def pretrain(self) -> Path:
        return self.path / "pretrain.pt"

    @property
    def weights(self) -> Path:
        return self.path / "weights.pt"

    def snapshot(self, epoch: int) -> Path:
        """Of an epoch counted from 1."""
        return self.path / "snapshots" / f"epoch{epoch}.pt"

    def about(self) -> dict[str, Any]:
        file = self.path / "fold.json"
        return read_json(file) if file.is_file() else {}

    def begin(self, **facts: Any) -> None:
        write_json(self.path / "fold.json", {"status": "running", "started": _now(), **facts})

    def end(self, status: str, **facts: Any) -> None:
        write_json(self.path / "fold.json", {**self.about(), "status": status, "finished": _now(), **facts})

    @property
    def done(self) -> bool:
        return self.about().get("status") == "done" and self.weights.is_file()

    def lock(self) -> contextlib.AbstractContextManager:
        """Held while training: a second process with the same command must not write here too."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(self.path / ".lock").acquire(timeout=0)
        except Timeout:
            raise Busy(f"{self.path} is being trained by another process; wait for it or stop it") from None


class Bystander(FoldDir):
    """The same to a process that helps to train the fold: another one writes, and holds the lock."""

    def begin(self, **facts: Any) -> None:
        pass

    def end(self, status: str, **facts: Any) -> None:
        pass

    def lock(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()


@dataclass(frozen=True)
class Run:
    path: Path
    config: Config
    about: dict[str, Any]         # run.json

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.about["classes"])

    def fold(self, fold: int | str) -> FoldDir:
        return FoldDir(self.path / f"fold{fold}")

    def folds_done(self) -> list[int]:
        return [fold for fold in self.about["folds"] if self.fold(fold).done]

    def lock(self) -> FileLock:
        return FileLock(self.path / ".lock")


def open_run(config: Config, facts: dict[str, Any], precision: Callable[[], str], restart: bool = False) -> Run:
    """The run of this config: made if it is not there, refused if it was made from another config or split.
    `precision` is asked once in a run's life: a choice made by timing could fall differently the next time."""
    path = RUNS / config.name
    for parent in path.parents:
        if (parent / "run.json").is_file():
            raise UserError(f"{path} would lie inside the run {parent}; choose another name")
    path.mkdir(parents=True, exist_ok=True)
    with FileLock(path / ".lock"):
        _refuse_soup(path, facts)
        if restart and (path / "run.json").is_file():
            _set_aside(path)
        if not (path / "run.json").is_file():
            _write_config(path, config, facts)
            write_json(path / "run.json", {"schema": SCHEMA, "created": _now(), "git": git_state(), **facts,
                                           "precision": precision()})
        run = read_run(path)
        refuse_changes(run, config, facts)
        if run.config != config:  # how it is logged, saved or read out may change at any time
            _write_config(path, config, facts)
    return Run(path, config, run.about)


def _refuse_soup(path: Path, facts: dict[str, Any]) -> None:
    """A fold trained into a soup would not be what the directory says it is."""
    source = read_json(path / "run.json").get("soup_of") if (path / "run.json").is_file() else None
    if source and "soup_of" not in facts:
        raise UserError(f"{path} is a soup of {source}, which is not trained but made (python -m comp soup {source}); "
                        f"train under another name (--name NEW)")


def _write_config(path: Path, config: Config, facts: dict[str, Any]) -> None:
    again = f"-m comp soup {facts['soup_of']}" if "soup_of" in facts else f"train.py -c {path / 'config.yaml'}"
    write_atomic(path / "config.yaml", f"# python {again}\n{config.to_yaml()}")


def _set_aside(path: Path) -> None:
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


def refuse_changes(run: Run, config: Config, facts: dict[str, Any]) -> None:
    ways_out = "train it under another name (--name NEW) or afresh (--restart)"
    old, new = run.config.identity(), config.identity()
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise UserError(f"{run.path} was made with {key}={old.get(key)}, and this asks for {new.get(key)}; "
                            f"{ways_out}")
    for key, what in (("folds_sha256", f"split than {facts['folds_file']} holds now"),
                      ("image_list_sha256", "list of training images"), ("classes", "list of classes, or their order")):
        if run.about[key] != facts[key]:
            raise UserError(f"{run.path} was made with another {what}; {ways_out}")


def read_run(path: Path) -> Run:
    about = read_json(path / "run.json")
    if about.get("schema") != SCHEMA:
        raise UserError(f"{path} has schema {about.get('schema')}, and this version reads {SCHEMA}; train it again")
    return Run(path, configs.load(path / "config.yaml")[0], about)


def known_runs() -> dict[str, Path]:
    """Every run anybody looks for, by name."""
    return {path.parent.relative_to(RUNS).as_posix(): path.parent for path in sorted(RUNS.rglob("run.json"))
            if path.relative_to(RUNS).parts[0] not in APART}


def find_runs(wanted: Iterable[str]) -> list[Run]:
    """Runs by name, path or quoted pattern, each once, in the order asked."""
    known = known_runs()
    found: dict[Path, Path] = {}  # by where it really is: a name and a path may mean the same run
    for text in wanted:
        name = text.rstrip("/").removeprefix(f"{RUNS}/")
        matches = [known[match] for match in ([name] if name in known else fnmatch.filter(known, name))]
        if not matches and (Path(text) / "run.json").is_file() and name.partition("/")[0] not in APART:
            matches = [Path(text)]
        if not matches:
            there = nearest(name, known) if known else "; none is trained yet: python train.py"
            raise UserError(f"there is no run {text}{there}")
        found |= {path.resolve(): path for path in matches}
    return [read_run(path) for path in found.values()]


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Tensors and plain Python only, serialised in memory first: a full disk leaves the old file as it was."""
    import torch
    buffer = io.BytesIO()
    torch.save({"kit": "comp", "schema": SCHEMA, **content}, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    import torch
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except Exception:  # whatever pickle, zip or torch make of a broken file
        content = None
    if not isinstance(content, dict) or content.get("kit") != "comp" or content.get("schema") != SCHEMA:
        raise UserError(f"{path} is truncated or not a checkpoint of this kit; "
                        f"restore it, or delete it and train the fold again")
    return content


def process_facts(device: torch.device) -> dict[str, Any]:
    """Who trains: for fold.json."""
    import torch
    return {"command": command_line(), "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
            "threads": torch.get_num_threads(), "host": platform.node(), "pid": os.getpid(), "versions": versions()}


def command_line() -> str:
    """What to give to python again."""
    program = Path(sys.argv[0])
    return shlex.join([*(("-m", "comp") if program.name == "__main__.py" else (program.name,)), *sys.argv[1:]])


def versions() -> dict[str, str]:
    return {"python": platform.python_version(),
            **{name: version(name) for name in ("torch", "timm", "albumentations", "numpy")}}


def _processor() -> str:
    """What Linux calls it, else the kind of machine: `platform.processor()` is empty there."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def git_state() -> dict[str, Any]:
    def git(*words: str) -> str | None:
        try:
            return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
