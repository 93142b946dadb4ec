"""Folds trained side by side, a process each, with one screen for all of them.

A process shares nothing with the others but the run directory, so one that fails or is killed costs the others
nothing. The parent alone draws, and answers to Ctrl-C: the first lets every fold save and stop, the second ends them
at once.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Collection, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from tqdm import tqdm

from comp.training.fold_process import FoldProcess, TrainFold
from comp.training.setup import Setup


def train_parallel(train_fold: TrainFold, setup: Setup, folds: Sequence[int | str], jobs: int) -> list[int | str]:
    """Train `folds`, `jobs` of them at a time. Says what goes wrong, and gives the folds where something did; raises
    KeyboardInterrupt where Ctrl-C was pressed."""
    seats, waiting, failed, stopping = list(range(min(jobs, len(folds)))), list(folds), [], False
    running: dict[Connection, FoldProcess] = {}
    with _count_interrupts() as pressed, _ParallelConsole(len(folds)) as screen:
        try:
            while (running or (waiting and not pressed)) and len(pressed) < 2:
                while waiting and seats and not pressed:
                    child = FoldProcess.start(seats.pop(0), waiting.pop(0), train_fold, setup, min(jobs, len(folds)))
                    running[child.connection] = child
                for connection in wait(list(running), timeout=0.3):
                    child = running[connection]
                    if not child.hear(screen.say):
                        del running[connection]
                        seats.append(child.seat)
                        failed += [child.fold] if child.problem else []
                    screen.show(running.values(), len(waiting))
                if pressed and not stopping:
                    stopping = True
                    screen.say("stderr", "every fold saves and stops; Ctrl-C again stops at once")
                    for child in running.values():
                        child.stop()
        finally:
            for child in running.values():
                child.process.kill()
    if pressed:
        raise KeyboardInterrupt
    return failed


class _ParallelConsole:
    """One bar over all folds, with the lines of each above it."""

    def __init__(self, folds: int):
        self.folds = folds
        self.bar = tqdm(
            desc=f"0/{folds} folds",
            total=folds,
            disable=None,
            leave=False,
            dynamic_ncols=True,
            smoothing=0,
            miniters=0,  # or after a fold's end it would wait for as much again
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )

    def __enter__(self) -> _ParallelConsole:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def say(self, stream: str, line: str) -> None:
        self.bar.write(line, file=getattr(sys, stream))
        getattr(sys, stream).flush()

    def show(self, running: Collection[FoldProcess], waiting: int) -> None:
        ended = self.folds - waiting - len(running)
        self.bar.set_description_str(f"{ended}/{self.folds} folds", refresh=False)
        self.bar.set_postfix_str(", ".join(f"fold {child.fold} {child.share:.0%}" for child in running), refresh=False)
        self.bar.update(ended + sum(child.share for child in running) - self.bar.n)


@contextlib.contextmanager
def _count_interrupts() -> Iterator[list[int]]:
    """Ctrl-C adds to the list and does nothing else: an exception could cut a message in two."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
