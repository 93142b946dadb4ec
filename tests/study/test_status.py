"""`tune --status` and the figures: what a study's trials become for people."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from comp.errors import UserError
from comp.records.study import StudyRecord, TrialRecord
from comp.study.plots import save_figures
from comp.study.status import print_status, status_lines
from comp.study.study_file import StudyConfig

NOW = datetime(2026, 11, 30, 12)
STUDY = StudyConfig(name="little", base="no.yaml", folds="0..1", space={"optim.lr": {"low": 0.0, "high": 1.0}})


def add(study: optuna.Study, state: TrialState, value: float | None = None, **attributes) -> None:
    trial = create_trial(
        state=state,
        value=value,
        params={"optim.lr": 0.25},
        distributions={"optim.lr": FloatDistribution(0, 1)},
        user_attrs=attributes,
    )
    trial.datetime_start = NOW - timedelta(minutes=10)
    trial.datetime_complete = NOW if state.is_finished() else None
    study.add_trial(trial)


def test_status_lines_name_best_history_failures_and_time_left():
    study = optuna.create_study(direction="minimize")
    for value in (0.5, 0.7, 0.25):
        add(study, TrialState.COMPLETE, value)
    add(study, TrialState.PRUNED)
    add(study, TrialState.FAIL, note="the memory of cpu is full")
    add(study, TrialState.RUNNING, worker={"host": "gpu1", "pid": 7})
    text = "\n".join(status_lines(study, STUDY, 8, NOW))
    assert "6 of 8 trials begun: 3 complete, 1 pruned, 1 failed, 1 running" in text
    assert "best: trial 2, 0.2500 on folds 0..1: optimistic, the best of 4 on" in text and "optim.lr=0.25" in text
    assert "history: trial 0 0.5000, trial 2 0.2500" in text
    assert "failed: trial 4: the memory of cpu is full" in text and "pruned: 3" in text
    assert "running: trial 5 on gpu1, process 7, begun 10 min ago" in text
    assert "time left: about 20 min for 3 trials of 10 min, 1 at a time" in text


def test_print_status_reads_only_and_names_a_study_that_is_not_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no trial of little is begun"):
        print_status(STUDY, 8, None)
    assert not list(tmp_path.iterdir())
    path = Path("runs/little/journal.log")
    path.parent.mkdir(parents=True)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name="little")
    add(study, TrialState.COMPLETE, 0.5)
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "work')  # another process is writing
    content = path.read_bytes()
    print_status(STUDY, 8, None)
    assert "best: trial 0" in capsys.readouterr().out
    assert path.read_bytes() == content and [file.name for file in path.parent.iterdir()] == ["journal.log"]


def test_print_status_of_a_database(database, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="has no studies yet"):
        print_status(STUDY, 8, database)
    study = optuna.create_study(storage=database, study_name="little")
    add(study, TrialState.COMPLETE, 0.5)
    print_status(STUDY, 8, database)
    assert "best: trial 0" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_save_figures_draws_conditions_words_and_one_trial(tmp_path):
    trials = [TrialRecord(number, "complete", {"optim.lr": 10.0**-number, "name": "ab"[number % 2],
                                               **({"momentum": 0.5} if number % 2 else {})}, (float(number),))
              for number in range(4)]  # fmt: skip
    record = StudyRecord("little", ("accuracy",), (True,), "0", None, tuple(trials), {"optim.lr": 0.75, "name": 0.25})
    save_figures(record, tmp_path / "all")
    assert sorted(path.stem for path in (tmp_path / "all").iterdir()) == [
        "history", "importances", "key-momentum", "key-name", "key-optim.lr", "parallel"]  # fmt: skip
    save_figures(StudyRecord("little", ("accuracy",), (True,), "0", None, tuple(trials[:1])), tmp_path / "one")
    assert (tmp_path / "one/history.png").stat().st_size > 1000
    assert StudyRecord.from_dict(record.to_dict(), "x") == record
