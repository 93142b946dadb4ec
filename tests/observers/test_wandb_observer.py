"""The values that a WandbObserver passes to W&B, with a stand-in for its client."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from comp.observers.tracked import TrackedRun
from comp.observers.wandb import WandbObserver, is_written
from comp.records.checkpoint import HistoryRow
from comp.records.run import RunRecord
from comp.runs import Run
from comp.schema import Config, Log
from comp.track.identity import fold_identity, summary_identity
from comp.track.live import wandb_observers

RECORD = RunRecord(42, "accuracy", True, ("a", "b", "c"), (0, 1), "folds/x.csv", "", "", 10, created="2026-01-01")


class StandIn(SimpleNamespace):
    """The client, and what it received. `step` is the first step that W&B does not have yet."""

    def __init__(self, step: int = 0):
        super().__init__(inits=[], steps=[], exit_codes=[], step=step, id="0", Settings=lambda **_: None)
        self.config = self.summary = SimpleNamespace(update=lambda *_, **__: None)

    def init(self, **arguments):
        self.inits.append(arguments)
        return self

    def define_metric(self, *_, **__): ...

    def log(self, values, step, commit):
        self.steps.append(step)

    def finish(self, exit_code):
        self.exit_codes.append(exit_code)


@pytest.fixture
def client(monkeypatch) -> StandIn:
    monkeypatch.setitem(sys.modules, "wandb", client := StandIn())
    return client


def make_run(path: Path, **log) -> Run:
    return Run(path, Config(name="x", log=Log(**log)), RECORD)


def epoch(number: int) -> HistoryRow:
    return HistoryRow(number, 10 * number, 1e-3, 1.0, 1.0, 0.5, 1.0, 10.0, 0.0, 1.0)


def observe(path: Path, content: TrackedRun | None = None, mode: str = "offline") -> WandbObserver:
    return WandbObserver(fold_identity(make_run(path), 0), {}, mode, lambda: content)


def test_wandb_identity_has_an_id_that_a_fold_keeps_and_the_project_of_config_or_dataset(client, tmp_path):
    run = make_run(tmp_path)
    identities = [fold_identity(run, 0), fold_identity(run, 1), summary_identity(run)]
    assert len({identity.id for identity in identities}) == 3
    elsewhere = Run(tmp_path / "copied", run.config, run.record)
    assert fold_identity(elsewhere, 0).id == identities[0].id
    assert identities[0].project == "blood-cells" and identities[0].name == "x-fold0"
    assert fold_identity(make_run(tmp_path, project="mine"), 0).project == "mine"
    observe(tmp_path)
    assert client.inits[0]["id"] == identities[0].id and client.inits[0]["resume"] == "allow"


def test_wandb_observer_resumed_fold_logs_no_epoch_twice(client, tmp_path):
    client.step = 3  # W&B has epochs 1 and 2, of which the last was not saved before the kill
    rows = tuple(map(epoch, (1, 2, 3)))
    observer = observe(tmp_path, TrackedRun(fold_identity(make_run(tmp_path), 0), {}, {}, history=rows))
    for row in rows[1:]:
        observer.log_epoch(0, row)
    observer.log_end()
    assert client.steps == [3]


def test_wandb_observer_closed_by_an_error_reports_a_crash(client, tmp_path):
    content = TrackedRun(fold_identity(make_run(tmp_path), 0), {}, {})
    observer = observe(tmp_path, content)
    observer.log_end()
    observer.close()
    assert client.exit_codes == [0] and is_written(content, "offline")
    observer = observe(tmp_path / "b")
    with pytest.raises(RuntimeError):
        try:
            raise RuntimeError
        finally:
            observer.close()
    assert client.exit_codes == [0, 1]


def test_wandb_observers_are_none_only_where_wandb_is_off(client, tmp_path, monkeypatch):
    assert wandb_observers(make_run(tmp_path, wandb="off"), 0, None) == () and not client.inits
    assert len(wandb_observers(make_run(tmp_path, wandb="offline"), 0, None)) == 1
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_observers(make_run(tmp_path, wandb="auto"), 0, None) == ()


def test_what_was_written_offline_is_written_once_and_again_when_online_or_changed(client, tmp_path):
    identity = fold_identity(make_run(tmp_path), 0)
    content = TrackedRun(identity, {}, {"status": "done"})
    observe(tmp_path, content).log_end()
    assert is_written(content, "offline") and not is_written(content, "online")
    assert not is_written(TrackedRun(identity, {}, {"status": "failed"}), "offline")
    observe(tmp_path, content, "online").log_end()
    assert is_written(content, "offline") and is_written(content, "online")
