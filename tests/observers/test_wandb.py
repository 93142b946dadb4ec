"""W&B with its real client, offline; what it wrote is read back from its files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

from comp.cli import run_main
from comp.files import read_json
from comp.tables import HISTORY_COLUMNS
from tests.conftest import SMALL
from tests.observers.test_tensorboard import read_curve
from tests.observers.wandb_files import read_offline_runs


def train(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    return run_main(importlib.import_module("train").main)


@pytest.fixture
def prepared(workspace, monkeypatch):
    from comp.__main__ import main

    monkeypatch.setattr(sys, "argv", ["comp", "folds", *SMALL])
    assert run_main(main) == 0
    monkeypatch.delenv("WANDB_MODE")
    return workspace


def test_wandb_offline_runs_and_tensorboard_equal_the_disk(prepared, monkeypatch):
    assert train(monkeypatch, "--name", "mirror", *SMALL, "log.wandb=offline", "log.tensorboard=true") == 0
    written = read_offline_runs(Path("runs/mirror"))
    assert sorted(written) == ["mirror-fold0", "mirror-fold1", "mirror-fold2", "mirror-summary"]

    fold = written["mirror-fold1"]
    assert (fold.run.project, fold.run.run_group, fold.run.job_type) == ("tiny", "mirror", "train")
    assert fold.config["optim"]["lr"] == 1e-3 and fold.config["data"]["size"] == 24
    epochs = [row for row in fold.history if "val_loss" in row]
    history = pd.read_csv("runs/mirror/fold1/history.csv")
    curve = read_curve(Path("runs/mirror/fold1/tensorboard"), "val_loss")
    assert curve == {row["epoch"]: [pytest.approx(row["val_loss"])] for _, row in history.iterrows()}
    for row, (_, kept) in zip(epochs, history.iterrows(), strict=True):
        assert set(HISTORY_COLUMNS) <= set(row)
        assert row["val_loss"] == pytest.approx(kept["val_loss"]) and row["epoch"] == kept["epoch"]
    assert any("confusion" in key for row in fold.history for key in row)

    run, summary = written["mirror-summary"].run, written["mirror-summary"].summary
    metrics = read_json(Path("runs/mirror/metrics.json"))
    assert run.job_type == "summary"
    assert summary["mean"] == pytest.approx(metrics["mean"]) and summary["sd"] == pytest.approx(metrics["sd"])
    assert summary["oof"] == pytest.approx(metrics["oof"]["kept"]["score"])
    assert [summary["oof_low"], summary["oof_high"]] == pytest.approx(metrics["oof"]["kept"]["interval"])


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_wandb_failure_warns_once_and_training_continues(where, prepared, monkeypatch, capfd):
    import wandb

    class Broken:
        id, step = "0", 0
        summary: dict = {}  # noqa: RUF012

        def define_metric(self, *_, **__): ...

        def log(self, *_, **__):
            if where == "log":
                raise RuntimeError("the service is down")

        def finish(self, exit_code):
            if where == "finish":
                raise RuntimeError("the service is down")

    def init(**_):
        if where == "init":
            raise RuntimeError("the service is down")
        return Broken()

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr("comp.observers.wandb.WandbSession.write", lambda *_: None)
    capfd.readouterr()
    assert train(monkeypatch, "--name", "alone", "--fold", "0", *SMALL, "log.wandb=online") == 0
    err = capfd.readouterr().err
    assert err.count("warning: W&B failed") == 1 and err.count("\n") == 1
    assert read_json(Path("runs/alone/fold0/fold.json"))["status"] == "done"
