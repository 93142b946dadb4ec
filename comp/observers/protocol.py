"""The interface of the observers of a fold's training, and the exceptions by which an observer ends it."""

from __future__ import annotations

from typing import Protocol

from comp.engine.fit import Step
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow


class StopTraining(Exception):
    """Raised by an observer to end a fold for good; its status becomes `pruned`."""


class PauseTraining(KeyboardInterrupt):
    """Raised by an observer to interrupt a fold: it is saved first, and the same command resumes it."""


class Observer(Protocol):
    """Called by the training of one fold, in this order: steps and epochs, then once the end, then close."""

    def log_step(self, event: Step, images: int) -> None:
        """Receive a point inside an epoch; `images` have been trained on in this epoch."""

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        """Receive the row that history.csv gets for a finished epoch."""

    def log_end(self) -> None:
        """Learn that the fold is done: all of its files are written."""

    def close(self) -> None:
        """Release what is held, also when the training ends with an exception."""
