"""A study in PostgreSQL: no trial is lost or run twice, whoever dies, and no file has the password."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from comp.errors import UserError
from comp.launch.options import Trainer
from comp.study import database, outage
from comp.study import search as searching
from comp.study import trials as running
from comp.study.store import open_store
from comp.study.study_file import StudyConfig
from comp.study.trial import TrialOutcome
from tests.study.postgres import PASSWORD

STUDY = StudyConfig(name="little", base="no.yaml", folds=0, space={"x": {"low": 0.0, "high": 1.0}})
TRIALS = 8
NO_TRAINER = Trainer(lambda *_, **__: None, torch.device("cpu"))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch) -> None:
    monkeypatch.setattr(database, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(database, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(outage, "RETRY_SECONDS", 0.1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_little(url: str, trials: int = TRIALS) -> searching.Search:
    store = open_store("little", url)
    study = store.claim(lambda _: optuna.create_study(storage=store.storage, study_name="little", load_if_exists=True))
    return searching.Search(STUDY, trials, study, store, "accuracy", 1)


def work(url: str, machine: Path, log: Path, seconds: float) -> None:
    """Run trials that take `seconds` in a directory of this machine, and write each one's number to the log."""
    machine.mkdir(exist_ok=True)
    os.chdir(machine)

    def train(study, number, values, trainer, observers):
        with log.open("a") as file:
            file.write(f"{machine.name} {number}\n")
        time.sleep(seconds)
        return TrialOutcome("complete", (values["x"],))

    searching.run_trial = train
    running.run_trials(open_little(url), NO_TRAINER)


def start(*arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_three_machines_one_killed_and_the_server_restarted_lose_no_trial(postgres, database, tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.touch()
    victim = start(database, tmp_path / "a", log, 60.0)
    wait_for(lambda: "a 0" in log.read_text())
    others = [start(database, tmp_path / name, log, 0.15) for name in ("b", "c")]
    os.kill(victim.pid, signal.SIGKILL)
    wait_for(lambda: log.read_text().count("\n") > 3)
    postgres.stop()
    postgres.start()
    for process in others:
        process.join(30)
        assert process.exitcode == 0
    monkeypatch.chdir(tmp_path)
    trials = open_little(database).optuna_study.get_trials()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert all(trial.state == TrialState.COMPLETE and trial.value == trial.params["x"] for trial in trials)
    lines = log.read_text().split("\n")[:-1]
    numbers = sorted(int(line.split()[1]) for line in lines)
    assert numbers == [0, *range(TRIALS)]  # the killed one again, and no other
    assert len({line.split()[0] for line in lines}) == 3


def test_values_do_not_depend_on_who_draws_them(database, tmp_path, monkeypatch):
    """A journal by one process and a database by several, one after the other, have the same values."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        searching, "run_trial", lambda study, number, values, *_: TrialOutcome("complete", (values["x"],))
    )
    values = []
    for url in (None, database):
        searches = [open_little(url, trials) for trials in ((2, 9, 10) if url else (10,))]
        for search in searches:
            running.run_trials(search, NO_TRAINER)
        values.append([trial.params for trial in searches[-1].optuna_study.get_trials()])
    assert values[0] == values[1] and len(values[0]) == 10


def test_open_store_by_several_processes_at_once_creates_the_tables(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)

    def open_together() -> None:
        barrier.wait()
        open_little(database)

    processes = [context.Process(target=open_together) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == 4 * [0]


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_claim_of_a_trial_that_ends_in_this_moment_takes_a_new_one(kind, database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = database if kind == "database" else None
    owner, other = open_little(url), open_little(url)
    first = owner.store.claim(lambda claims: running._claim_trial(owner, claims))

    def claim_while_it_ends(claims):
        hold = claims.hold

        def end_first(trial):
            if trial.number == 0:
                running._end_trial(owner, first.trial, TrialOutcome("complete", (0.5,)))
                first.hold.locks.close()
            return hold(trial)

        monkeypatch.setattr(type(claims), "hold", lambda _, trial: end_first(trial))
        return running._claim_trial(other, claims)

    assert other.store.claim(claim_while_it_ends).trial.number == 1


def test_a_stopped_process_whose_trial_was_taken_reports_nothing(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = open_little(database, 1)
    claimed = search.store.claim(lambda claims: running._claim_trial(search, claims))
    claimed.hold.locks.enter_context(other_machine(database, tmp_path / "b", monkeypatch))
    wait_for(claimed.hold.is_lost)
    reporter = running.OptunaReporter(claimed.trial, [0], 1, claimed.hold.is_lost)
    with pytest.raises(running.TrialTakenError):
        reporter.log_step(None, 0)
    claimed.hold.__exit__()
    assert search.optuna_study.get_trials()[0].user_attrs["worker"]["pid"] == os.getpid()


def other_machine(url: str, directory: Path, monkeypatch):
    """Take the running trial from another directory, after its heartbeat grew old."""
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(database, "GRACE_SECONDS", 0.0)
    search = open_little(url, 1)
    return search.store.claim(lambda claims: running._claim_trial(search, claims)).hold


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pass-word-7", "wrong"), "password authentication failed"),
        (("postgresql+psycopg", "mysql"), "mysql is not supported"),
        (("127.0.0.1:", "127.0.0.1:1"), "cannot be used"),
        (("postgresql+psycopg://", ""), "is no address"),
    ],
)
def test_open_store_of_a_wrong_address_is_one_line_without_the_password(
    change, message, database, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        open_store("little", database.replace(*change))
    assert message in str(error.value) and PASSWORD not in str(error.value) and "\n" not in str(error.value)


def test_no_file_of_a_run_has_the_password(database, monkeypatch):
    from comp.environment import command_line

    for argument in (database, f"--storage={database}", f"postgresql://host/db?user=me&password={PASSWORD}"):
        monkeypatch.setattr("sys.argv", ["comp", "tune", "study.yaml", "--storage", argument])
        assert PASSWORD not in command_line() and "study.yaml" in command_line()
