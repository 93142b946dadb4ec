"""Run trials in several processes of this machine, with one progress bar for all of them.

A worker claims its trials as a process on another machine does, so one that fails or is killed does not affect the
others. The parent alone draws and handles Ctrl-C: after the first every trial saves its state and stops, the second
kills them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch
from optuna.trial import TrialState

from comp.data.folds import parse_fold_range
from comp.engine.fit import Step
from comp.errors import UserError
from comp.launch.options import LaunchOptions, Trainer, open_trainer
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.study.search import OpenSearch, Search
from comp.study.trials import run_trials
from comp.training.fold_process import ParentObserver, device_for_slot, run_for_parent
from comp.training.parallel_console import ParallelConsole, count_interrupts
from comp.training.process import KILLED_MESSAGE, spawn_process

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class Worker:
    """A process that runs trials, as its parent sees it."""

    slot: int
    connection: Connection
    process: SpawnProcess
    trial: int | None = None
    fraction_done: float = 0.0
    trials_ended: int = 0  # of the study, when its trial began
    has_ended: bool = False  # by itself
    error: str | None = None

    @classmethod
    def start(cls, slot: int, task: WorkerTask) -> Worker:
        parent_end, child_end = multiprocessing.Pipe()
        process = spawn_process(_work, child_end, slot, task)
        child_end.close()
        return cls(slot, parent_end, process)

    def stop(self) -> None:
        """Request that the trial saves its state and the worker ends."""
        with contextlib.suppress(OSError):  # it may have ended already
            self.connection.send("stop")

    def receive(self, console: ParallelConsole) -> bool:
        """Process one message; return False after the last one, when the process has ended."""
        try:
            kind, *content = self.connection.recv()
        except (EOFError, OSError):
            return False
        if kind == "line":
            console.print_line(*content)
        elif kind == "trial":
            self.trial, self.trials_ended = content
            self.fraction_done = 0.0
        elif kind == "fraction_done":
            (self.fraction_done,) = content
        else:
            (self.error,) = content
            self.has_ended = True
        return True


@dataclass(frozen=True)
class WorkerTask:
    """The arguments of a worker's process."""

    open_search: OpenSearch
    device: torch.device
    options: LaunchOptions | None
    workers: int


def run_workers(open_search: OpenSearch, search: Search, trainer: Trainer, workers: int) -> None:
    """Run the trials of a search in `workers` processes. A worker that is killed is replaced: its trial is continued,
    or fails after some deaths. Raise KeyboardInterrupt after Ctrl-C, and UserError if workers failed."""
    task, failed, stopping = WorkerTask(open_search, trainer.device, trainer.options, workers), 0, False
    running: dict[Connection, Worker] = {}
    with count_interrupts() as interrupts, ParallelConsole(search.trials, "trial") as console:
        try:
            for slot in range(workers):
                worker = Worker.start(slot, task)
                running[worker.connection] = worker
            while running and len(interrupts) < 2:
                ready = wait(list(running), timeout=0.3)
                for connection, worker in list(running.items()):
                    if connection not in ready or worker.receive(console):
                        continue
                    del running[connection]
                    if worker.error or not worker.has_ended:
                        console.print_line("stderr", f"worker {worker.slot} failed: {worker.error or KILLED_MESSAGE}")
                        if worker.has_ended or worker.trial is None or interrupts:
                            failed += 1
                        else:
                            replacement = Worker.start(worker.slot, task)
                            running[replacement.connection] = replacement
                fractions = {
                    worker.trial: worker.fraction_done for worker in running.values() if worker.trial is not None
                }
                console.update_bar(fractions, max((worker.trials_ended for worker in running.values()), default=0))
                if interrupts and not stopping:
                    stopping = True
                    console.print_stopping()
                    for worker in running.values():
                        worker.stop()
        finally:
            for worker in running.values():
                worker.process.kill()
    if interrupts:
        raise KeyboardInterrupt
    if failed:
        raise UserError(
            f"{failed} of {workers} workers failed (see the error above); fix the cause and run the same command again"
        )


def _work(connection: Connection, slot: int, task: WorkerTask) -> None:
    """Run trials in this process, and send its output, its progress and how it ended to the parent."""
    torch.set_num_threads(max(1, torch.get_num_threads() // task.workers))
    parent = TrialObserver(connection)

    def run() -> None:
        search = task.open_search()
        with open_trainer(task.options, str(device_for_slot(slot, task.device))) as trainer:
            run_trials(search, trainer, lambda number: [parent.begin(search, number)])

    run_for_parent(parent, run)


class TrialObserver(ParentObserver):
    """An observer that sends the progress through all folds of a trial, and pauses it at the parent's request."""

    def __init__(self, connection: Connection):
        super().__init__(connection)
        self.epochs = 1
        self.folds: Sequence[Fold] = ()
        self.folds_done = 0

    def begin(self, search: Search, number: int) -> TrialObserver:
        """Announce a trial, and observe it from now on."""
        self.epochs, self.folds, self.folds_done = search.epochs, parse_fold_range(str(search.study.folds)), 0
        ended = search.optuna_study.get_trials(deepcopy=False, states=ENDED)
        self.send("trial", number, len(ended))
        return self

    def log_step(self, event: Step, images: int) -> None:
        self._send_fraction((self.folds_done + event.step / event.steps) / len(self.folds))

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        self.folds_done = self.folds.index(fold)  # folds that an earlier process finished send no steps
        self._send_fraction((self.folds_done + row.epoch / self.epochs) / len(self.folds))

    def log_end(self) -> None:
        self.folds_done += 1

    def _send_fraction(self, fraction_done: float) -> None:
        self.send_progress("fraction_done", fraction_done)
