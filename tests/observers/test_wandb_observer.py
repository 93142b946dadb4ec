"""The values that a WandbObserver passes to W&B, with a stand-in for its client."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from comp.observers.wandb import WandbObserver, wandb_observers
from comp.records.run import RunRecord
from comp.runs import Run
from comp.schema import Config, Log

RECORD = RunRecord(42, "accuracy", True, ("a", "b", "c"), (0, 1), "folds/x.csv", "", "", 10, created="2026-01-01")


@pytest.fixture
def calls(monkeypatch) -> dict:
    """The arguments of the client's functions, by their names."""
    calls: dict = {}
    wandb_run = SimpleNamespace(
        define_metric=lambda *_, **__: None,
        log=lambda values: calls.update(log=values),
        finish=lambda exit_code: calls.update(exit_code=exit_code),
        summary={},
    )

    def init(**arguments):
        calls.update(init=arguments)
        return wandb_run

    plot = SimpleNamespace(confusion_matrix=lambda **arguments: arguments)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, plot=plot, Settings=lambda **_: None))
    return calls


def make_run(path, **log) -> Run:
    return Run(path, Config(name="x", log=Log(**log)), RECORD)


def test_wandb_observer_confusion_matrix_has_targets_as_truth(calls, tmp_path):
    observer = WandbObserver(make_run(tmp_path), "offline", "train", "fold0")
    observer.log_predictions(np.array([0, 1, 2]), np.eye(3)[[1, 1, 2]])
    expected = {"y_true": [0, 1, 2], "preds": [1, 1, 2], "class_names": ["a", "b", "c"]}
    assert calls["log"] == {"confusion": expected}


def test_wandb_observer_project_is_the_configs_or_the_datasets_and_each_fold_has_an_id_that_it_keeps(calls, tmp_path):
    ids = []
    for label in ("fold0", "fold1", "fold0"):
        WandbObserver(make_run(tmp_path), "offline", "train", label)
        ids.append(calls["init"]["id"])
    assert ids[0] == ids[2] != ids[1] and calls["init"]["resume"] == "allow"
    assert calls["init"]["project"] == "blood-cells" and calls["init"]["name"] == "x-fold0"
    WandbObserver(make_run(tmp_path, project="mine"), "online", "train", "fold0")
    assert calls["init"]["project"] == "mine" and calls["init"]["mode"] == "online"


def test_wandb_observer_closed_by_an_error_reports_a_crash(calls, tmp_path):
    WandbObserver(make_run(tmp_path), "offline", "train", "fold0").close()
    assert calls["exit_code"] == 0
    observer = WandbObserver(make_run(tmp_path), "offline", "train", "fold0")
    with pytest.raises(RuntimeError):
        try:
            raise RuntimeError
        finally:
            observer.close()
    assert calls["exit_code"] == 1


def test_wandb_observers_are_none_only_where_wandb_is_off(calls, tmp_path, monkeypatch):
    assert wandb_observers(make_run(tmp_path, wandb="off"), "train", "fold0") == () and not calls
    assert len(wandb_observers(make_run(tmp_path, wandb="offline"), "train", "fold0")) == 1
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_observers(make_run(tmp_path, wandb="auto"), "train", "fold0") == ()
