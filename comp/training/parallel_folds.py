"""Train folds in parallel, a process each, with one progress bar for all of them.

A process shares only the run directory with the others, so one that fails or is killed does not affect them. The
parent alone draws and handles Ctrl-C: after the first every fold saves its state and stops, the second kills them.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

from comp.records.base import Fold
from comp.training.fold_process import FoldProcess, TrainFold
from comp.training.parallel_console import ParallelConsole, count_interrupts
from comp.training.setup import Setup


def train_parallel(train_fold: TrainFold, setup: Setup, folds: Sequence[Fold], jobs: int) -> list[Fold]:
    """Train `folds`, `jobs` of them at a time. Print the errors and return the folds that failed; raise
    KeyboardInterrupt after Ctrl-C."""
    jobs = min(jobs, len(folds))
    free_slots, queued, failed, stopping = list(range(jobs)), list(folds), [], False
    running: dict[Connection, FoldProcess] = {}
    with count_interrupts() as interrupts, ParallelConsole(len(folds), "fold") as console:
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
                    console.update_bar(fractions, len(folds) - len(queued) - len(running))
                if interrupts and not stopping:
                    stopping = True
                    console.print_stopping()
                    for process in running.values():
                        process.stop()
        finally:
            for process in running.values():
                process.process.kill()
    if interrupts:
        raise KeyboardInterrupt
    return failed
