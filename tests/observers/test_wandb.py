"""W&B with its real client, offline; what it wrote is read back from its log."""

from __future__ import annotations

import importlib
import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from comp.cli import run_main
from comp.files import read_json
from comp.observers.wandb import wandb_mode
from comp.tables import HISTORY_COLUMNS
from tests.conftest import SMALL


def read_records(file: Path) -> list:
    """Return the records of a W&B file up to its exit; the service may write the end after `finish` has returned."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        records = list(_parse_records(file.read_bytes()))
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no exit record")


def _parse_records(content: bytes) -> Iterator:
    """Yield the records of a LevelDB log (blocks of 32 KiB; crc, length and type before each piece) of protobufs."""
    from wandb.proto import wandb_internal_pb2

    position, pieces = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        pieces += content[position + 7 : position + 7 + length]
        position += 7 + length
        if position > len(content):  # this piece is still being written
            return
        if kind in (1, 4):  # a whole record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record


def as_dict(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


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


def test_wandb_offline_fold_and_summary_runs_equal_the_disk(prepared, monkeypatch):
    assert train(monkeypatch, "--name", "mirror", *SMALL, "log.wandb=offline") == 0
    wandb_runs = {}
    for file in Path("runs/mirror/wandb").rglob("offline-run-*/*.wandb"):
        written = read_records(file)
        [run] = [record.run for record in written if record.WhichOneof("record_type") == "run"][:1]
        wandb_runs[run.display_name] = (run, written)
    assert sorted(wandb_runs) == ["mirror-fold0", "mirror-fold1", "mirror-fold2", "mirror-summary"]

    run, written = wandb_runs["mirror-fold1"]
    assert (run.project, run.run_group, run.job_type) == ("tiny", "mirror", "train")
    config = {}
    for record in written:
        if record.WhichOneof("record_type") == "config":
            config |= as_dict(record.config.update)
        if record.WhichOneof("record_type") == "run":
            config |= as_dict(record.run.config.update)
    assert config["optim"]["lr"] == 1e-3 and config["data"]["size"] == 24
    rows = [as_dict(record.history.item) for record in written if record.WhichOneof("record_type") == "history"]
    epochs = [row for row in rows if "epoch" in row and "val_loss" in row]
    import pandas as pd

    for row, (_, kept) in zip(epochs, pd.read_csv("runs/mirror/fold1/history.csv").iterrows(), strict=True):
        assert set(HISTORY_COLUMNS) <= set(row)
        assert row["val_loss"] == pytest.approx(kept["val_loss"]) and row["epoch"] == kept["epoch"]
    assert any("confusion" in key for row in rows for key in row)

    run, written = wandb_runs["mirror-summary"]
    summary = {}
    for record in written:
        if record.WhichOneof("record_type") == "summary":
            summary |= as_dict(record.summary.update)
    metrics = read_json(Path("runs/mirror/metrics.json"))
    assert run.job_type == "summary"
    assert summary["mean"] == pytest.approx(metrics["mean"]) and summary["sd"] == pytest.approx(metrics["sd"])
    assert summary["oof"] == pytest.approx(metrics["oof"]["kept"]["score"])


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_wandb_failure_warns_once_and_training_continues(where, prepared, monkeypatch, capfd):
    import wandb

    class Broken:
        summary: dict = {}  # noqa: RUF012

        def define_metric(self, *_, **__): ...

        def log(self, *_):
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
    capfd.readouterr()
    assert train(monkeypatch, "--name", "alone", "--fold", "0", *SMALL, "log.wandb=online") == 0
    err = capfd.readouterr().err
    assert err.count("warning: W&B failed") == 1 and err.count("\n") == 1
    assert read_json(Path("runs/alone/fold0/fold.json"))["status"] == "done"


def test_wandb_mode_auto_is_online_only_with_a_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wandb_mode("auto") == "off"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password 0123\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert wandb_mode("auto") == "online"
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0123")
    assert wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert (wandb_mode("auto"), wandb_mode("off")) == ("offline", "off")


@pytest.mark.parametrize(("classes", "keys"), [(3, ["confusion"]), (1000, [])])
def test_log_predictions_of_many_classes_sends_no_table_of_a_million_pairs(classes, keys, monkeypatch):
    from comp.observers.wandb import WandbObserver

    observer = object.__new__(WandbObserver)
    observer.classes, observer.wandb_run = tuple(map(str, range(classes))), object()
    sent = []
    monkeypatch.setattr(WandbObserver, "_log", lambda self, row: sent.extend(row))
    observer.log_predictions(np.arange(3), np.eye(3, classes))
    assert sent == keys
