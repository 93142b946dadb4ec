"""Signals end a program in one line, after its temporary files are removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from comp.cli import run_main
from comp.errors import UserError
from tests.conftest import REPO_ROOT

WAITING = """
import os, pathlib, sys, tempfile, time
from comp.cli import run_main

def main():
    with tempfile.TemporaryDirectory(dir=os.getcwd()):
        print("ready", flush=True)
        time.sleep(30)

sys.exit(run_main(main))
"""
MESSAGE = "interrupted; run the same command again to resume\n"


@pytest.fixture(autouse=True)
def signals_are_not_ignored():
    """Signals as in a terminal: `nohup`, and a shell script's `&`, let all programs that they start ignore some."""
    defaults = dict.fromkeys((signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
    handlers = {signal.SIGINT: signal.default_int_handler, **defaults}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def start(tmp_path, preexec_fn=None, program=WAITING) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=preexec_fn,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_run_main_signal_removes_temporary_files_and_ends_by_it(number, tmp_path):
    process = start(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130 if number == signal.SIGINT else -number, MESSAGE)
    assert list(tmp_path.iterdir()) == []


def test_run_main_ignored_hangup_stays_ignored(tmp_path):
    process = start(tmp_path, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # as nohup does
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("error", [ImportError("initialization failed"), UserError("pip install"), ValueError()])
def test_run_main_error_caused_by_signal_is_an_interruption(error, capsys):
    def main():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    assert run_main(main) == 130 and capsys.readouterr().err == MESSAGE


def test_run_main_signal_in_a_finaliser_still_interrupts(capsys):
    class Finalised:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)

    def main():
        Finalised()
        time.sleep(30)

    assert run_main(main) == 130 and capsys.readouterr().err == MESSAGE


def test_run_main_signal_during_an_import_waits_for_its_end(tmp_path, monkeypatch, capsys):
    """An exception in the middle of the import of torch aborts the process."""
    (tmp_path / "imported_slowly.py").write_text("import os; os.kill(os.getpid(), 2); print('whole')")
    monkeypatch.syspath_prepend(tmp_path)

    def main():
        import imported_slowly  # noqa: F401

        time.sleep(30)

    assert run_main(main) == 130
    assert tuple(capsys.readouterr()) == ("whole\n", MESSAGE)


def test_run_main_restores_signal_handlers():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert run_main(lambda: None) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_run_main_text_that_is_not_utf_8_is_printed(capsys):
    assert run_main(lambda: print("input/\udcff")) == 0 and capsys.readouterr().out == "input/\\udcff\n"


IMPORTING = """
import sys
from comp.cli import run_main
import train
sys.argv = ["train.py", "data.root=nothing"]

def main():
    print("ready", flush=True)
    return train.main()

sys.exit(run_main(main))
"""
MOMENTS = [0.5, *(pytest.param(0.2 * step, marks=pytest.mark.slow) for step in range(20))]


@pytest.mark.parametrize("seconds", MOMENTS)
def test_train_interrupted_while_it_imports_ends_in_one_line(seconds, tmp_path):
    process = start(tmp_path, program=IMPORTING)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, MESSAGE) or (process.returncode == 2 and err.count("\n") == 1)
