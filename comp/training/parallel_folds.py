"""Train folds in parallel, a process each, with one progress bar for all of them.

A process shares only the run directory with the others, so one that fails or is killed does not affect them. The
parent alone draws and handles Ctrl-C: after the first every fold saves its state and stops, the second kills them.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait

from comp.progress_bar import progress_bar
from comp.records.base import Fold
from comp.training.fold_process import FoldProcess, TrainFold
from comp.training.setup import Setup

STOPPING = "every fold saves and stops; Ctrl-C again stops at once"


def train_parallel(train_fold: TrainFold, setup: Setup, folds: Sequence[Fold], jobs: int) -> list[Fold]:
    """Train `folds`, `jobs` of them at a time. Print the errors and return the folds that failed; raise
    KeyboardInterrupt after Ctrl-C."""
    jobs = min(jobs, len(folds))
    free_slots, queued, failed, stopping = list(range(jobs)), list(folds), [], False
    running: dict[Connection, FoldProcess] = {}
    with count_interrupts() as interrupts, ParallelConsole(len(folds)) as console:
        try:
            while (running or (queued and not interrupts)) and len(interrupts) < 2:
                while queued and free_slots and not interrupts:
                    process = FoldProcess.start(free_slots.pop(0), queued.pop(0), train_fold, setup, jobs)
                    running[process.connection] = process
                ready = wait(list(running), timeout=0.3)
                for connection, process in list(running.items()):
                    if connection not in ready:
                        continue
                    if not process.receive(console.print_line):
                        del running[connection]
                        free_slots.append(process.slot)
                        failed += [process.fold] if process.error else []
                    fractions = {process.fold: process.fraction_done for process in running.values()}
                    console.update_bar(fractions, len(queued))
                if interrupts and not stopping:
                    stopping = True
                    console.print_line("stderr", STOPPING)
                    for process in running.values():
                        process.stop()
        finally:
            for process in running.values():
                process.process.kill()
    if interrupts:
        raise KeyboardInterrupt
    return failed


class ParallelConsole:
    """One bar over all folds, and above it the lines that the folds print."""

    def __init__(self, folds: int):
        self.folds = folds
        self.bar = progress_bar(
            desc=f"0/{folds} folds",
            total=folds,
            dynamic_ncols=True,
            smoothing=0,
            miniters=0,  # otherwise the bar would wait, after a fold has ended, for as much progress again
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def __enter__(self) -> ParallelConsole:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def print_line(self, stream: str, line: str) -> None:
        """Print a line to "stdout" or "stderr", above the bar."""
        self.bar.write(line, file=getattr(sys, stream))
        getattr(sys, stream).flush()

    def update_bar(self, running: Mapping[Fold, float], queued: int) -> None:
        """Show which folds are running, with the fraction of each that is done."""
        ended = self.folds - queued - len(running)
        self.bar.set_description_str(f"{ended}/{self.folds} folds", refresh=False)
        per_fold = ", ".join(f"fold {fold} {fraction:.0%}" for fold, fraction in running.items())
        self.bar.set_postfix_str(per_fold, refresh=False)
        self.bar.update(ended + sum(running.values()) - self.bar.n)


@contextlib.contextmanager
def count_interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C signals in a list instead of raising: an exception could cut a message in two."""
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, handler)
