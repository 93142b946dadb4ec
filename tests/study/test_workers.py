"""`tune --workers`: several processes on one machine, one terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.study.test_tune import read_trials, tune  # noqa: F401  a fixture

COMMAND = [sys.executable, "-m", "comp", "tune", "configs/studies/little.yaml", "--trials", "4", "--workers", "2"]


def start() -> subprocess.Popen:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(COMMAND, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)  # fmt: skip


def children(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_workers_one_is_killed_then_ctrl_c_then_resume(tune):  # noqa: F811
    process = start()
    timer = threading.Timer(400, process.kill)
    timer.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("trial ") and len(lines) < 50:
            victims = children(process)
            time.sleep(0.2)
            os.kill(victims[-1], signal.SIGKILL)
            break
    for line in process.stdout:
        lines.append(line)
        if "failed: its process was killed" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130 and "every trial saves and stops" in "".join(lines)
    assert [trial.number for trial in read_trials()][:1] == [0]
    process = start()
    out = process.communicate()[0]
    timer.cancel()
    assert process.returncode == 0 and "wrote configs/studies/little.winner.yaml" in out
    assert [trial.state for trial in read_trials()] == 4 * [TrialState.COMPLETE]
    assert out.count("interrupted") == 0 and "Traceback" not in out + "".join(lines)
