"""A fold's training in a process of its own, and its messages to the parent: lines, progress, and how it ended.

Messages of the process: ("line", stream name, text), ("step", Step, images), ("epoch", HistoryRow), and
("end", error message or None). The parent has only one: "stop".
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

import torch

from comp.cli import format_error
from comp.engine.device import choose_device
from comp.engine.fit import Step
from comp.errors import UserError
from comp.observers.protocol import Observer, PauseTraining
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.schema import Config
from comp.training.fold_monitor import FoldMonitor, PrintLine
from comp.training.process import spawn_process
from comp.training.setup import Setup, open_setup

TrainFold = Callable[[Setup, Fold, Sequence[Observer]], object]


@dataclass
class FoldProcess(FoldMonitor):
    """A fold's process, as its parent sees it."""

    slot: int  # its number among those that run at a time; with several GPUs it decides which one is used
    connection: Connection
    process: SpawnProcess

    @classmethod
    def start(cls, slot: int, fold: Fold, train_fold: TrainFold, setup: Setup, jobs: int) -> FoldProcess:
        parent_end, child_end = multiprocessing.Pipe()
        # The process opens the run itself: sending it the list of all images would wait until it has imported torch.
        device = device_for_slot(slot, setup.device)
        task = FoldTask(
            setup.config,
            fold,
            str(device),
            setup.image_key,
            threads=max(1, torch.get_num_threads() // jobs),
            local_processes=jobs,
            device_processes=processes_per_device(jobs, setup.device),
            max_batches=setup.max_batches,
        )
        process = spawn_process(run_task, child_end, train_fold, task)
        child_end.close()
        return cls(fold, setup.config.train.epochs, slot, parent_end, process)

    def stop(self) -> None:
        """Request that the fold saves its state and ends."""
        with contextlib.suppress(OSError):  # it may have ended already
            self.connection.send("stop")

    def receive(self, print_line: PrintLine) -> bool:
        """Process one message; return False after the last one, when the process has ended."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.end(print_line)
            return False
        self.handle(message, print_line)
        return True


def device_for_slot(slot: int, device: torch.device) -> torch.device:
    """Return the device of a process: the GPUs in turn, unless one was requested by its index."""
    if device.type != "cuda" or device.index is not None:
        return device
    # the ignore: torch's type stub says that an index is never None
    return torch.device(f"cuda:{slot % torch.cuda.device_count()}")  # type: ignore[unreachable]


def processes_per_device(jobs: int, device: torch.device) -> int:
    """Return how many of `jobs` processes share a device: all, unless `device_for_slot` spreads them over the GPUs."""
    spread = device.type == "cuda" and device.index is None
    return -(-jobs // torch.cuda.device_count()) if spread else jobs


@dataclass(frozen=True)
class FoldTask:
    """The arguments of a fold's process."""

    config: Config
    fold: Fold
    device: str
    image_key: str  # of the image cache of the parent
    threads: int
    local_processes: int  # that train on the machine at the same time
    device_processes: int  # those of them on `device`
    max_batches: int | None = None


def run_task(connection: ParentConnection, train_fold: TrainFold, task: FoldTask) -> None:
    """Train a fold in this process, and send its output, its progress and how it ended to the parent."""
    torch.set_num_threads(task.threads)
    parent = ParentObserver(connection)

    def run() -> None:
        device = choose_device(task.device)  # makes it the current CUDA device of this process
        setup = open_setup(task.config, device, [task.fold], device_processes=task.device_processes)
        if setup.image_key != task.image_key:
            raise UserError(f"the images of {setup.dataset.root} changed; run the same command again")
        setup = replace(setup, max_batches=task.max_batches, local_processes=task.local_processes)
        train_fold(setup, task.fold, [parent])

    run_for_parent(parent, run)


def run_for_parent(parent: ParentObserver, run: Callable[[], None]) -> None:
    """Call `run`, and send what it prints and how it ended to the parent."""
    error = None
    with (
        contextlib.redirect_stdout(LineForwarder("stdout", parent)),
        contextlib.redirect_stderr(LineForwarder("stderr", parent)),
    ):
        try:
            run()
        except PauseTraining:
            pass
        except Exception as failure:
            if os.environ.get("COMP_TRACEBACK") == "1":
                traceback.print_exc()
            error = format_error(failure)
    parent.send("end", error)


class ParentConnection(Protocol):
    """The end of a connection to the parent that a fold's process holds."""

    def send(self, message: tuple) -> None:
        """Send a message."""

    def poll(self) -> bool:
        """Return whether the parent requests to stop. Called by the training, whose files then do not change."""


class ParentObserver:
    """An observer that sends steps and epochs to the parent process, and pauses the training at its request."""

    def __init__(self, connection: ParentConnection):
        self.connection = connection
        self.lock = threading.Lock()  # W&B prints from threads of its own

    def send(self, *message: Any) -> None:
        with self.lock:
            self.connection.send(message)

    def send_progress(self, *message: Any) -> None:
        """Send a message between two steps, where the training can pause."""
        self.send(*message)
        if self.connection.poll():  # the parent has only one message
            raise PauseTraining

    def log_step(self, event: Step, images: int) -> None:
        self.send_progress("step", event, images)

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        self.send_progress("epoch", row)

    def log_end(self) -> None:
        pass

    def close(self) -> None:
        pass


class LineForwarder(io.TextIOBase):
    """A text stream that sends whole lines to the parent. It is no terminal, so that no progress bar is drawn."""

    def __init__(self, name: str, parent: ParentObserver):
        self.name, self.parent, self.incomplete = name, parent, ""

    def write(self, text: str) -> int:
        *lines, self.incomplete = (self.incomplete + text).split("\n")
        for line in lines:
            self.parent.send("line", self.name, line)
        return len(text)
