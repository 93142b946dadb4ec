"""A training in a process of its own, started and heard by its parent: what one prints, how far it is, how it ended."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
import torch

from comp.cli import format_error
from comp.engine.fit import Step
from comp.observers.protocol import Observer, PauseTraining
from comp.schema import Config
from comp.training.setup import Setup, open_setup

KILLED_MESSAGE = "its process was killed, perhaps for want of memory"
TrainFold = Callable[[Setup, int | str, Sequence[Observer]], None]


def spawn_process(target: Callable[..., None], *words: Any) -> SpawnProcess:
    """Spawned, for a fork of a process that has used torch's threads or a GPU cannot train. Ctrl-C reaches the whole
    terminal; it leaves that to its parent, with whom it dies."""
    process = multiprocessing.get_context("spawn").Process(target=_run_until_parent_exits, args=(target, *words))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    return process


def _run_until_parent_exits(target: Callable[..., None], *words: Any) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    target(*words)


def _die_with_parent() -> None:
    """A killed parent must not leave a training behind that holds the fold's lock."""
    multiprocessing.parent_process().join()
    os._exit(1)


@dataclass
class FoldProcess:
    """A fold's process, as its parent sees it."""

    seat: int  # its number among those that run at a time: with several GPUs, which of them it has
    fold: int | str
    connection: Connection
    process: SpawnProcess
    share: float = 0.0  # how much of the fold is trained
    problem: str | None = KILLED_MESSAGE  # unless it says otherwise

    @classmethod
    def start(cls, seat: int, fold: int | str, train_fold: TrainFold, setup: Setup, jobs: int) -> FoldProcess:
        ours, theirs = multiprocessing.Pipe()
        # it opens the run itself: sent the list of all images, we would wait until it has imported torch
        process = spawn_process(
            _train, theirs, train_fold, setup.config, fold, device_for_slot(seat, setup.device), setup.batches, jobs
        )
        theirs.close()
        return cls(seat, fold, ours, process)

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended by itself
            self.connection.send("stop")

    def hear(self, say: Callable[[str, str], None]) -> bool:
        """Take in one message; False after the last, when the process has gone."""
        try:
            kind, *content = self.connection.recv()
        except (EOFError, OSError):
            if self.problem:
                say("stderr", f"fold {self.fold}  failed: {self.problem}")
            return False
        if kind == "line":
            say(*content)
        elif kind == "share":
            (self.share,) = content
        else:
            (self.problem,) = content
        return True


def device_for_slot(seat: int, device: torch.device) -> str:
    """The GPUs in turn, unless one was asked for by its number."""
    if device.type != "cuda" or device.index is not None:
        return str(device)
    return f"cuda:{seat % torch.cuda.device_count()}"


def _train(
    connection: Connection,
    train_fold: TrainFold,
    config: Config,
    fold: int | str,
    device: str,
    batches: int | None,
    jobs: int,
) -> None:
    """In the child: train, and tell the parent how it ended."""
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    parent, problem = ParentObserver(connection, config.train.epochs), None
    with (
        contextlib.redirect_stdout(LineForwarder("stdout", parent)),
        contextlib.redirect_stderr(LineForwarder("stderr", parent)),
    ):
        try:
            train_fold(replace(open_setup(config, device, [fold]), batches=batches, sharing=jobs), fold, [parent])
        except PauseTraining:
            pass
        except Exception as failure:
            if os.environ.get("COMP_TRACEBACK") == "1":
                traceback.print_exc()
            problem = format_error(failure)
    parent.tell("end", problem)


class ParentObserver:
    """The parent, as a fold's process sees it: an observer of the training, who may ask it to stop."""

    def __init__(self, connection: Connection, epochs: int):
        self.connection, self.epochs = connection, epochs
        self.lock = threading.Lock()  # W&B prints from threads of its own

    def tell(self, *message: Any) -> None:
        with self.lock:
            self.connection.send(message)

    def log_step(self, event: Step, images: int) -> None:
        self._tell_share(event.step / event.steps)

    def log_epoch(self, fold: int | str, row: dict[str, Any]) -> None:
        self._tell_share(row["epoch"] / self.epochs)

    def _tell_share(self, share: float) -> None:
        self.tell("share", share)
        if self.connection.poll():  # there is but one thing a parent says
            raise PauseTraining

    def log_predictions(self, truth: np.ndarray, probabilities: np.ndarray) -> None:
        pass

    def close(self) -> None:
        pass


class LineForwarder(io.TextIOBase):
    """A stream that is no terminal, so that no bar is drawn, and tells the parent whole lines."""

    def __init__(self, name: str, parent: ParentObserver):
        self.name, self.parent, self.rest = name, parent, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.parent.tell("line", self.name, line)
        return len(text)
