"""A fold that is trained elsewhere, as its messages report it, and the observers here that watch it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from comp.engine.fit import Step
from comp.observers.protocol import Observer, PauseTraining, StopTraining
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow
from comp.training.process import KILLED_MESSAGE

PrintLine = Callable[[str, str], None]  # (stream name, text)


@dataclass
class FoldMonitor:
    """The state of a fold that is trained in another process.

    An observer here ends the training there as it would end one in this process: what it raises is kept as
    `interruption`, for the launcher to stop the fold and to raise it then. Later epochs are not observed.
    """

    fold: Fold
    epochs: int
    observers: Sequence[Observer] = field(default=(), kw_only=True)
    step: Step = field(default=Step(epoch=0, step=0, steps=1, lr=0.0, loss=0.0), kw_only=True)
    images: int = field(default=0, kw_only=True)
    fraction_done: float = field(default=0.0, kw_only=True)
    error: str | None = field(default=KILLED_MESSAGE, kw_only=True)  # until the process sends its end
    interruption: StopTraining | PauseTraining | None = field(default=None, kw_only=True)

    def handle(self, message: tuple, print_line: PrintLine) -> None:
        """Process one message."""
        kind, *content = message
        if kind == "line":
            print_line(*content)
        elif kind == "step":
            self.step, self.images = content
            self.fraction_done = self.step.step / self.step.steps
        elif kind == "epoch":
            self.log_epoch(*content)
        else:
            (self.error,) = content

    def log_epoch(self, row: HistoryRow) -> None:
        """Show a finished epoch to the observers."""
        self.fraction_done = row.epoch / self.epochs
        self._observe(lambda observer: observer.log_epoch(self.fold, row))

    def poll(self) -> None:
        """Show the last step to the observers. One that waits for a machine can be interrupted too: it is at step 0."""
        self._observe(lambda observer: observer.log_step(self.step, self.images))

    def interrupt(self) -> None:
        """Interrupt the fold as an observer would."""
        self.interruption = self.interruption or PauseTraining()

    def end(self, print_line: PrintLine) -> None:
        """Report the end of the fold: to the observers, and its error if it has one."""
        if self.error:
            print_line("stderr", f"fold {self.fold}  failed: {self.error}")
        else:
            self._observe(lambda observer: observer.log_end())
        for observer in self.observers:
            observer.close()

    def _observe(self, call: Callable[[Observer], None]) -> None:
        if self.interruption:
            return
        try:
            for observer in self.observers:
                call(observer)
        except (StopTraining, PauseTraining) as interruption:
            self.interruption = interruption
