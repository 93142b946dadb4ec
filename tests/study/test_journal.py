"""The journal of a study is recovered after damage, and no dead process keeps it locked."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import optuna
import pytest

from comp.errors import UserError
from comp.study.journal import JournalLock, open_journal


@pytest.fixture
def journal(tmp_path, monkeypatch) -> Path:
    """A journal of three trials of value 0, 1 and 2; its path is relative, as that of every study."""
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path("runs/little/journal.log")
    path.parent.mkdir(parents=True)
    for value in range(3):
        add_trial(path, value)
    return path


def open_study(path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_journal(path), study_name="little", load_if_exists=True)


def add_trial(path: Path, value: float) -> None:
    study = open_study(path)
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    study.tell(trial, value)


def values(path: Path) -> list[float | None]:
    return [trial.value for trial in open_study(path).get_trials()]


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_open_journal_torn_last_line_is_set_aside(journal, capfd, cut):
    content = journal.read_bytes()
    os.truncate(journal, len(content) - cut)
    torn = content[:-cut].rpartition(b"\n")[2]
    assert values(journal) == [0, 1, None]  # the value was in the last line
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and f"{journal} is damaged from line" in line and "journal.log.damaged-1" in line
    assert journal.with_name("journal.log.damaged-1").read_bytes() == torn
    add_trial(journal, 3)
    assert values(journal) == [0, 1, None, 3] and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 50 + b"\n", b"<<<<<<< HEAD\n", b"[1]\n", b'{"op_code": "x"}\n', b"[" * 99999],
    ids=["NUL", "merge", "list", "text", "nested"],
)
def test_open_journal_keeps_the_lines_before_garbage(journal, capfd, garbage):
    """Trials are numbered by the order of lines: those after a lost line could be another trial's."""
    lines = journal.read_bytes().splitlines(keepends=True)
    second = [number for number, line in enumerate(lines) if b'"op_code":4' in line][1]
    journal.write_bytes(b"".join([*lines[:second], garbage, *lines[second:]]))
    assert values(journal) == [0] and f"from line {second + 1} on" in capfd.readouterr().err
    assert journal.with_name("journal.log.damaged-1").read_bytes() == garbage + b"".join(lines[second:])
    journal.write_bytes(journal.read_bytes() + garbage)
    assert values(journal) == [0]
    assert journal.with_name("journal.log.damaged-2").read_bytes() == garbage


def test_open_journal_empty_file_begins_the_study(journal, capfd):
    journal.write_bytes(b"")
    assert values(journal) == [] and capfd.readouterr().err == ""


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_open_journal_that_is_no_file_is_refused(journal, make):
    journal.unlink()
    make(journal)
    with pytest.raises(UserError, match=f"{journal} (is|has|cannot)"):
        open_journal(journal)


@pytest.mark.parametrize(
    "operation", [b'{"op_code": 99, "worker_id": "x"}\n', b'{"op_code": 4}\n', b'{"op_code": 0}\n']
)
def test_open_journal_of_a_newer_optuna_is_refused_and_kept(journal, operation):
    content = journal.read_bytes() + operation
    journal.write_bytes(content)
    with pytest.raises(UserError, match=rf"{journal} cannot be read by Optuna .*update Optuna"):
        open_journal(journal)
    assert journal.read_bytes() == content


def test_open_journal_lock_of_a_killed_process_is_free(journal):
    def die_locked() -> None:
        JournalLock(journal).acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die_locked)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    journal.with_name("journal.log.lock").symlink_to(journal)  # what Optuna's own lock leaves
    signal.alarm(20)
    try:
        add_trial(journal, 3)
    finally:
        signal.alarm(0)
    assert values(journal) == [0, 1, 2, 3]


def test_append_after_a_torn_line_of_another_process_spoils_nothing(journal, capfd):
    study = open_study(journal)
    with open(journal, "ab") as file:
        file.write(b'{"op_code": 4, "work')
    trial = study.ask()
    study.tell(trial, 3)
    assert values(journal) == [0, 1, 2, 3] and "journal.log.damaged-1" in capfd.readouterr().err
