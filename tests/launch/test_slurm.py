"""Folds as jobs of submitit, with its executors for one machine in Slurm's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from comp.config import load
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.launch.options import LaunchOptions
from comp.observers.protocol import StopTraining
from comp.runs import FoldDir
from tests.conftest import REPO_ROOT, SMALL
from tests.launch.test_ray import assert_same_as_whole
from tests.training.test_fold_monitor import Recorder

pytest.importorskip("submitit", reason="needs the extra: pip install -e '.[slurm]'")
OPTIONS = LaunchOptions("slurm", None, cpus=1, gpus=0, hours=1, slurm={"partition": "gpu"})


@pytest.fixture
def split(workspace, run_cli):
    assert run_cli("comp", "folds", *SMALL)[0] == 0


def run_on(cluster: str, name: str, *overrides: str, fold: str | None = None, observers=()):
    from comp.launch.slurm_launcher import run_on_slurm

    [config] = load("configs/deep_efficientnet.yaml", [*SMALL, *overrides], name)
    return run_on_slurm(config, OPTIONS, fold, observers=observers, cluster=cluster)


def test_slurm_array_file_has_the_options(workspace, monkeypatch):
    """The text of the file for sbatch: nothing here can run it."""
    import submitit

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    from comp.launch.slurm_launcher import FoldJob, make_executor

    executor = make_executor("x", OPTIONS, "slurm")
    text = executor._executor._make_submission_file_text("python", "id")
    for line in ("--partition=gpu", "--time=60", "--cpus-per-task=1", "--job-name=x", "--signal=USR2@300"):
        assert f"#SBATCH {line}" in text
    assert FoldJob.checkpoint  # submitit requeues only what has it


def test_slurm_here_without_srun_is_one_line(split, run_cli, monkeypatch):
    monkeypatch.setenv("PATH", "")
    status, _, err = run_cli("train.py", *SMALL, "--launcher", "slurm", "--name", "x")
    assert (status, err) == (2, "error: there is no Slurm here (no srun); run the command on a login node\n")


def test_slurm_debug_executor_trains_the_missing_folds_and_prints_their_lines(split, capfd):
    metrics = run_on("debug", "x", fold="0")
    assert metrics.folds_done == (0,) and "fold 0  epoch 2/2  loss" in capfd.readouterr().out
    assert run_on("debug", "x", fold="0") == metrics and capfd.readouterr().out == ""


def test_slurm_failed_fold_is_one_line(split, capfd):
    FoldDir(Path("runs/x/fold0")).path.mkdir(parents=True)
    Path("runs/x/fold0/resume.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="fold 0 failed"):
        run_on("debug", "x", fold="0")
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("fold 0  failed: runs/x/fold0/resume.pt is truncated")


def test_slurm_job_in_the_queue_is_followed_and_not_submitted_again(split, monkeypatch):
    from submitit.core.core import Job

    Path("runs/x/slurm").mkdir(parents=True)
    write_json(Path("runs/x/slurm/jobs.json"), {"0": "4711_0"})
    waits = iter([False, False, True])
    monkeypatch.setattr("submitit.local.debug.DebugJob.__init__", lambda job, folder, id: Job.__init__(job, folder, id))
    monkeypatch.setattr("submitit.local.debug.DebugJob.done", lambda job, force_check=False: next(waits))
    monkeypatch.setattr("submitit.local.debug.DebugJob.result", lambda job: "diverged")
    with pytest.raises(UserError, match="fold 0 failed"):
        run_on("debug", "x", fold="0")
    assert read_json(Path("runs/x/slurm/jobs.json")) == {"0": "4711_0"} and next(waits, None) is None


def test_slurm_observer_sees_the_epochs_and_ends_of_folds_in_their_order(split, capfd):
    observer = Recorder()
    run_on("debug", "x", fold="0..1", observers=[observer])
    calls = [call for call in observer.calls if call[0] != "step"]
    assert calls == [
        *(("epoch", 0, 1), ("epoch", 0, 2), ("end",), ("close",)),
        *(("epoch", 1, 1), ("epoch", 1, 2), ("end",), ("close",)),
    ]


@pytest.mark.slow
def test_slurm_stopped_fold_loses_its_job_and_is_pruned(split, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPO_ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(StopTraining):
        run_on("local", "x", "train.epochs=400", fold="0", observers=[Recorder(StopTraining(), epoch=2)])
    with FileLock("runs/x/fold0/.lock", timeout=10):  # the process of the job ends
        assert read_json(Path("runs/x/fold0/fold.json"))["status"] == "pruned"


@pytest.mark.slow
def test_slurm_preempted_job_is_requeued_and_resumes_with_the_same_bits(split, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPO_ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = ["train.epochs=40", "train.save_every=1000", "train.snapshots=2"]
    subprocess.run([sys.executable, REPO_ROOT / "train.py", *SMALL, *settings, "--name", "whole"], check=True)
    preempted = []

    def preempt():
        while not Path("runs/x/fold0/history.csv").is_file():
            time.sleep(0.02)
        preempted.append(read_json(Path("runs/x/fold0/fold.json"))["pid"])
        os.kill(preempted[0], signal.SIGUSR2)  # what Slurm sends before the end

    thread = threading.Thread(target=preempt, daemon=True)
    thread.start()
    metrics = run_on("local", "x", *settings)
    thread.join()
    assert metrics.complete and "resumes at step" in Path("runs/x/fold0/train.log").read_text()
    assert read_json(Path("runs/x/fold0/fold.json"))["pid"] != preempted[0]
    assert_same_as_whole("x", range(3))
