"""A fold's training on another machine, in a directory like the one at home: its files come from there and go there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from comp.cli import format_error
from comp.engine.device import choose_device
from comp.environment import versions
from comp.errors import UserError
from comp.launch.fold_mirror import FoldMirror, apply_changes
from comp.launch.project_files import ProjectFile, update_copy
from comp.records.base import Fold
from comp.records.run import RunRecord
from comp.runs import RUNS
from comp.training.fold_process import FoldTask, run_task
from comp.training.setup import open_benchmark_setup
from comp.training.train import train_fold

EXCHANGE_SECONDS = 0.3
CallHome = Callable[..., Any]  # (name of a method of Home, its arguments) -> its result


@dataclass(frozen=True)
class Project:
    """A project as other machines need it."""

    home: str  # host and directory
    root: Path  # of the dataset
    files: list[ProjectFile]
    versions: dict[str, str]  # of Python and the libraries at home

    @property
    def directory(self) -> Path:
        """The copy on this machine, in the user's folder below $TMPDIR or /tmp. It stays there for the next command."""
        key = hashlib.sha256(f"{self.home}\n{self.root}".encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"comp-{os.getuid()}" / f"{self.root.name}-{key}"


@contextlib.contextmanager
def project_copy(project: Project, call_home: CallHome) -> Iterator[None]:
    """Bring the copy of the project up to date, and make it the current directory."""
    directory, previous = project.directory, Path.cwd()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.parent.stat().st_uid != os.getuid():
        raise UserError(f"{directory.parent} belongs to another user; set TMPDIR on {platform.node()}")
    with FileLock(directory / ".lock"):
        update_copy(project.files, project.root, directory, lambda pieces: call_home("read", pieces))
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(previous)


def measure(project: Project, task: FoldTask, call_home: CallHome) -> RunRecord | str:
    """Return the record of a new run, completed by what is measured on this machine; or an error."""
    torch.set_num_threads(task.threads)
    try:
        with project_copy(project, call_home):
            device = choose_device(task.device)
            return open_benchmark_setup(task.config, device, task.device_processes).run.record
    except (UserError, OSError) as error:
        return format_error(error)


def train(project: Project, task: FoldTask, call_home: CallHome) -> None:
    """Train a fold from its files at home, which get every change, and every message."""
    connection = HomeConnection(task.fold, call_home)
    connection.send(("line", "stdout", f"fold {task.fold}  is on {platform.node()}"))
    if different := [
        f"{name} {version}" for name, version in versions().items() if project.versions.get(name) != version
    ]:
        line = f"warning: fold {task.fold} is computed with {', '.join(different)}, which differs from home"
        connection.send(("line", "stderr", line))
    if connection.poll():
        return connection.send(("end", None))
    run_path = RUNS / task.config.name
    fold_dir = run_path / f"fold{task.fold}"
    try:
        with project_copy(project, call_home):
            shutil.rmtree(fold_dir, ignore_errors=True)  # what an attempt left that was killed
            apply_changes(call_home("read_fold", run_path, task.fold))
            connection.follow(FoldMirror(Path.cwd(), fold_dir))
            beside = max(1, (os.cpu_count() or 1) // task.threads)  # other folds, which need their CPUs too
            run_task(connection, train_fold, replace(task, local_processes=beside))
            shutil.rmtree(fold_dir)
    except (UserError, OSError) as error:
        connection.send(("end", format_error(error)))


class HomeConnection:
    """The connection of a fold's training to the command at home. Files travel when the training polls, between two
    steps, and at its end; so they are always of one moment."""

    def __init__(self, fold: Fold, call_home: CallHome):
        self.fold, self.call_home = fold, call_home
        self.mirror: FoldMirror | None = None
        self.messages: list[bytes] = []  # pickled: to unpickle a Step, `Home` would import torch (0.5 GB)
        self.exchanged_at = -EXCHANGE_SECONDS

    def follow(self, mirror: FoldMirror) -> None:
        """Send what changes from now on in the directory of this mirror."""
        mirror.changes()
        self.mirror = mirror

    def send(self, message: tuple) -> None:
        self.messages.append(pickle.dumps(message))
        if message[0] == "end":
            self._exchange()

    def poll(self) -> bool:
        return time.monotonic() - self.exchanged_at > EXCHANGE_SECONDS and self._exchange()

    def _exchange(self) -> bool:
        messages, self.messages = self.messages, []
        is_stopping = self.call_home("receive", self.fold, messages, self.mirror.changes() if self.mirror else [])
        self.exchanged_at = time.monotonic()
        return is_stopping
