"""Observers of a fold that is trained elsewhere see what those of a training here see, and end it in the same way."""

from __future__ import annotations

import pytest

from comp.engine.fit import Step
from comp.observers.protocol import PauseTraining, StopTraining
from comp.records.checkpoint import HistoryRow
from comp.training.fold_monitor import FoldMonitor


def row(epoch: int) -> HistoryRow:
    return HistoryRow(epoch, 10 * epoch, 0.1, 1.0, 1.0, 0.5, 1.0, 1.0, 0.1, 0.1)


class Recorder:
    """An observer that keeps what it is called with, and raises an interruption at an epoch or a step."""

    def __init__(self, interruption: Exception | None = None, epoch: int = 0, step: int = -1):
        self.calls: list[tuple] = []
        self.interruption, self.epoch, self.step = interruption, epoch, step

    def log_step(self, event, images):
        self.calls.append(("step", event.step, images))
        if event.step == self.step:
            raise self.interruption

    def log_epoch(self, fold, row):
        self.calls.append(("epoch", fold, row.epoch))
        if row.epoch == self.epoch:
            raise self.interruption

    def log_end(self):
        self.calls.append(("end",))

    def close(self):
        self.calls.append(("close",))


def monitor_of(observer: Recorder) -> FoldMonitor:
    return FoldMonitor(3, 4, observers=[observer])


def test_fold_monitor_shows_steps_epochs_and_the_end_in_order():
    observer, lines = Recorder(), []
    monitor = monitor_of(observer)
    monitor.poll()
    monitor.handle(("step", Step(0, 5, 40, 0.1, 1.0), 160), lambda *line: lines.append(line))
    assert monitor.fraction_done == 5 / 40
    monitor.poll()
    monitor.handle(("epoch", row(1)), lambda *line: lines.append(line))
    assert monitor.fraction_done == 1 / 4
    monitor.handle(("line", "stdout", "text"), lambda *line: lines.append(line))
    monitor.handle(("end", None), lambda *line: lines.append(line))
    monitor.end(lambda *line: lines.append(line))
    assert observer.calls == [("step", 0, 0), ("step", 5, 160), ("epoch", 3, 1), ("end",), ("close",)]
    assert lines == [("stdout", "text")] and monitor.interruption is None


@pytest.mark.parametrize("interruption", [StopTraining(), PauseTraining()])
def test_fold_monitor_keeps_an_interruption_and_shows_no_later_epoch(interruption):
    observer = Recorder(interruption, epoch=2)
    monitor = monitor_of(observer)
    for epoch in (1, 2, 3):
        monitor.handle(("epoch", row(epoch)), print)
    monitor.handle(("end", None), print)
    monitor.end(print)
    assert monitor.interruption is interruption
    assert observer.calls == [("epoch", 3, 1), ("epoch", 3, 2), ("close",)]


def test_fold_monitor_of_a_fold_that_waits_can_be_interrupted():
    monitor = monitor_of(Recorder(PauseTraining(), step=0))
    monitor.poll()
    assert isinstance(monitor.interruption, PauseTraining)


def test_fold_monitor_interrupted_fold_has_no_end():
    observer = Recorder()
    monitor = monitor_of(observer)
    monitor.interrupt()
    monitor.handle(("end", None), print)
    monitor.end(print)
    assert isinstance(monitor.interruption, PauseTraining) and observer.calls == [("close",)]


def test_fold_monitor_prints_the_error_of_a_failed_fold_and_shows_no_end():
    observer, lines = Recorder(), []
    monitor = monitor_of(observer)
    monitor.handle(("end", "the loss is NaN"), print)
    monitor.end(lambda *line: lines.append(line))
    assert lines == [("stderr", "fold 3  failed: the loss is NaN")] and observer.calls == [("close",)]
