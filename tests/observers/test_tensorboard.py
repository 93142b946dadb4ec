"""TensorBoard's event files, read back by TensorBoard's own reader."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.observers.tensorboard import TensorBoardObserver
from comp.records.checkpoint import HistoryRow
from comp.schema import Config, Log
from comp.training.checks import check_names

ROW = HistoryRow(1, 10, 1e-3, 1.0, None, None, 1.0, 10.0, 0.0, 1.0)


def read_curve(directory: Path, name: str) -> dict[int, list[float]]:
    """Return the values of a curve by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    points: dict[int, list[float]] = {}
    for scalar in events.Scalars(name):
        points.setdefault(scalar.step, []).append(scalar.value)
    return points


def test_tensorboard_resumed_fold_has_each_epoch_once(tmp_path):
    killed = TensorBoardObserver(tmp_path, epochs_done=0)
    for epoch in (1, 2, 3):
        killed.log_epoch(0, replace(ROW, epoch=epoch, train_loss=float(epoch)))
    killed.close()
    resumed = TensorBoardObserver(tmp_path, epochs_done=1)  # what it saved last
    for epoch in (2, 3, 4):
        resumed.log_epoch(0, replace(ROW, epoch=epoch, train_loss=epoch + 0.5))
    resumed.close()
    assert read_curve(tmp_path, "train_loss") == {1: [1.0], 2: [2.5], 3: [3.5], 4: [4.5]}


def test_tensorboard_missing_is_an_error_before_a_run_is_created(monkeypatch):
    config = Config(name="x", log=Log(tensorboard=True))
    check_names(config)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"log\.tensorboard=true needs TensorBoard; install it with pip install"):
        check_names(config)
