"""Folds in parallel have the same bits as folds in sequence, and the failure of one does not affect the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from pickle import PicklingError
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from comp.config import load
from comp.files import read_json
from comp.training.fold_process import FoldProcess, ParentObserver, device_for_slot, processes_per_device
from comp.training.parallel_folds import train_parallel
from comp.training.process import spawn_process
from comp.training.train import run_experiment
from tests.conftest import REPO_ROOT, SMALL

LONG = [*SMALL, "train.epochs=100000"]


@pytest.fixture
def split(workspace, run_cli):
    assert run_cli("comp", "folds", *SMALL)[0] == 0


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240  # starting torch on a busy machine
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def pid_of(name: str, fold: int) -> int:
    file = Path(f"runs/{name}/fold{fold}/fold.json")
    wait_until(file.is_file)
    return read_json(file)["pid"]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def assert_same_weights(*fold_dirs: Path) -> None:
    one, other = (torch.load(fold_dir / "weights.pt", weights_only=True)["state_dict"] for fold_dir in fold_dirs)
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def run_in_thread(action) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_train_parallel_gives_identical_weights_and_a_killed_fold_does_not_affect_the_other(split, run_cli, one_thread):
    command = ["train.py", "--fold", "0,1", *SMALL, "train.epochs=6", "augment.mixup=0.2"]
    assert run_cli(*command, "--name", "sequence")[0] == 0
    killing = run_in_thread(lambda: os.kill(pid_of("parallel", 0), signal.SIGKILL))
    status, out, err = run_cli(*command, "--name", "parallel", "--jobs", "2")
    killing.join()
    assert status == 2 and err.splitlines() == [
        "fold 0  failed: its process was killed, perhaps because memory ran out",
        "error: fold 0 failed (see the error above); fix the cause and run the same command again",
    ]
    assert "fold 1  epoch 6/6" in out and "\r" not in out  # no bar without a terminal
    assert read_json(Path("runs/parallel/metrics.json"))["folds_done"] == [1]
    record = read_json(Path("runs/parallel/fold1/fold.json"))
    assert record["status"] == "done" and record["threads"] == 1 and record["pid"] != os.getpid()
    assert run_cli(*command, "--name", "parallel")[0] == 0

    exact = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    for fold in ("fold0", "fold1"):
        sequence, parallel = (Path("runs") / name / fold for name in ("sequence", "parallel"))
        assert_same_weights(sequence, parallel)
        assert (sequence / "last.npz").read_bytes() == (parallel / "last.npz").read_bytes()
        pd.testing.assert_frame_equal(
            *(pd.read_csv(fold_dir / "history.csv")[exact] for fold_dir in (sequence, parallel))
        )
    assert read_json(Path("runs/sequence/metrics.json"))["oof"] == read_json(Path("runs/parallel/metrics.json"))["oof"]


def test_parent_observer_stop_request_saves_the_fold_first(split):
    parent_end, child_end = multiprocessing.Pipe()
    parent_end.send("stop")
    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            load("configs/deep_efficientnet.yaml", SMALL, "x")[0],
            device=torch.device("cpu"),
            fold="0",
            observers=[ParentObserver(child_end)],
        )
    saved = torch.load("runs/x/fold0/resume.pt", weights_only=True)["fit"]  # a minute had not passed
    assert len(saved["history"]) < 2 and saved["step"] > 0 and parent_end.recv()[0] in ("step", "epoch")


def test_train_parallel_first_ctrl_c_stops_every_fold_and_starts_no_other(monkeypatch, capfd):
    started = []

    def start(slot, fold, *_):
        parent_end, child_end = multiprocessing.Pipe()
        started.append(child_end)
        assert fold < 2
        if fold == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return FoldProcess(fold, 1, slot, parent_end, SimpleNamespace(kill=lambda: None))

    def obey():
        for child_end in started:
            assert child_end.recv() == "stop"
            child_end.send(("end", None))
            child_end.close()

    monkeypatch.setattr(FoldProcess, "start", start)
    run_in_thread(lambda: (wait_until(lambda: len(started) == 2), obey()))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_parallel(None, None, range(6), 2)
    assert len(started) == 2 and capfd.readouterr().err == "every fold saves and stops; Ctrl-C again stops at once\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_train_parallel_runs_at_most_n_folds_and_reuses_slots(monkeypatch):
    started, running = [], {}

    def start(slot, fold, *_):
        started.append((fold, slot))
        parent_end, running[fold] = multiprocessing.Pipe()
        assert len(running) <= 3
        ending = list(running) if fold == 5 else [1] if len(running) == 3 and 1 in running else list(running)[2:]
        for ended_fold in ending:
            running[ended_fold].send(("end", "out of memory" if ended_fold == 1 else None))
            running.pop(ended_fold).close()
        return FoldProcess(fold, 1, slot, parent_end, SimpleNamespace(kill=lambda: None))

    monkeypatch.setattr(FoldProcess, "start", start)
    assert train_parallel(None, None, range(6), 3) == [1]
    # the first three have a slot each; 1 ends, and 3 gets its slot, then 4 and 5
    assert started == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 1), (5, 1)]


def test_device_for_slot_gpus_in_turn_unless_one_is_requested(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    devices = [str(device_for_slot(slot, torch.device("cuda"))) for slot in range(4)]
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    for device in (torch.device("cuda:0"), torch.device("cpu")):
        assert device_for_slot(1, device) == device


def test_processes_per_device_counts_those_that_share_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    shared = [processes_per_device(jobs, torch.device("cuda")) for jobs in (1, 2, 3, 5)]
    assert shared == [1, 1, 2, 3]
    assert processes_per_device(3, torch.device("cuda:0")) == processes_per_device(3, torch.device("cpu")) == 3


def test_spawn_process_that_cannot_start_leaves_ctrl_c_as_it_was():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises((AttributeError, TypeError, PicklingError)):
        spawn_process(lambda: None)  # a function that no other process can import
    assert signal.getsignal(signal.SIGINT) is before


class SlowToArrive:
    """An argument that takes a minute to unpickle, as one whose module imports torch takes seconds."""

    def __reduce__(self):
        return time.sleep, (60,)


def test_spawn_process_killed_parent_ends_it_before_its_arguments_arrive(tmp_path):
    pid_file = tmp_path / "pid"
    if not (parent := os.fork()):
        pid_file.write_text(str(spawn_process(print, SlowToArrive()).pid))
        time.sleep(60)
    wait_until(lambda: pid_file.is_file() and pid_file.read_text())
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    killed, child = time.monotonic(), int(pid_file.read_text())
    wait_until(lambda: not is_alive(child))
    assert time.monotonic() - killed < 50


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_train_parallel_ended_parent_leaves_no_process(number, split):
    """Killed, terminated, or interrupted twice by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, str(REPO_ROOT / "train.py"), "--fold", "0,1", "--jobs", "2", *LONG, "--name", "x"],
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
        stderr=subprocess.PIPE,
    )
    children = [pid_of("x", fold) for fold in (0, 1)]
    process.send_signal(number)
    if number == signal.SIGINT:
        os.kill(children[0], signal.SIGSTOP)  # one that cannot stop by itself
        assert process.stderr.readline() == b"every fold saves and stops; Ctrl-C again stops at once\n"
        process.send_signal(number)
    assert process.wait(60) == (130 if number == signal.SIGINT else -number)
    wait_until(lambda: not any(map(is_alive, children)))
    assert not any(map(is_alive, children))


@pytest.mark.slow
def test_train_parallel_interrupted_and_resumed_gives_identical_weights(split, run_cli, one_thread):
    command = ["train.py", "--fold", "0,1", *SMALL, "train.epochs=40", "--jobs", "2", "--name"]
    assert run_cli(*command, "whole")[0] == 0
    interrupting = run_in_thread(
        lambda: (wait_until(Path("runs/x/fold0/history.csv").is_file), os.kill(os.getpid(), signal.SIGINT))
    )
    status, _, err = run_cli(*command, "x")
    interrupting.join()
    assert status == 130 and err == (
        "every fold saves and stops; Ctrl-C again stops at once\ninterrupted; run the same command again to resume\n"
    )
    assert Path("runs/x/fold0/resume.pt").is_file()
    assert run_cli(*command, "x")[0] == 0
    for fold in (0, 1):
        assert_same_weights(Path(f"runs/whole/fold{fold}"), Path(f"runs/x/fold{fold}"))
