"""A real study by three processes on PostgreSQL: one is killed, the server is restarted once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.study.postgres import PASSWORD
from tests.study.test_tune import read_trials, tune  # noqa: F401  a fixture

TRIALS = 5


def start(url: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "comp", "tune", "configs/studies/little.yaml", "--trials", str(TRIALS)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen([*command, "--storage", url], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)  # fmt: skip


@pytest.mark.slow
def test_three_processes_one_killed_and_a_restart_lose_no_trial(tune, postgres, database):  # noqa: F811
    victim = start(database)
    while not (line := victim.stdout.readline()).startswith("chosen:"):
        assert line
    others = [start(database) for _ in range(2)]
    time.sleep(0.5)
    victim.send_signal(signal.SIGKILL)
    while not others[0].stdout.readline().startswith("trial "):
        pass
    postgres.stop()
    time.sleep(1)
    postgres.start()
    outputs = [process.communicate(timeout=300)[0] for process in others]
    assert [process.returncode for process in others] == [0, 0], outputs
    assert "Traceback" not in "".join(outputs)
    trials = optuna.load_study(study_name="little", storage=database).get_trials()
    assert [(trial.number, trial.state) for trial in trials] == [(k, TrialState.COMPLETE) for k in range(TRIALS)]
    assert sum("winner.yaml" in output for output in outputs) >= 1

    texts = [file for file in Path("runs").rglob("*") if file.is_file() and file.suffix not in (".pt", ".npz")]
    assert not [file for file in texts if PASSWORD.encode() in file.read_bytes()]

    shutil.rmtree("runs/little")  # the same study by one process, in a journal
    assert tune(TRIALS)[0] == 0
    assert [(trial.params, trial.value) for trial in read_trials()] == [(trial.params, trial.value) for trial in trials]
