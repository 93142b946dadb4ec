"""Folds side by side: the same bits as one after the other, and what befalls one is no other's affair."""

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
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from comp.config import load
from comp.files import read_json
from comp.training.fold_process import FoldProcess, ParentObserver, device_for_slot
from comp.training.parallel_folds import train_parallel
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


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 240  # starting torch on a busy machine
    while not true() and time.monotonic() < until:
        time.sleep(0.05)


def pid_of(name: str, fold: int) -> int:
    file = Path(f"runs/{name}/fold{fold}/fold.json")
    wait_until(file.is_file)
    return read_json(file)["pid"]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def assert_same_weights(*places: Path) -> None:
    one, other = (torch.load(place / "weights.pt", weights_only=True)["state_dict"] for place in places)
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def meanwhile(action) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_side_by_side_is_bit_for_bit_one_after_the_other_and_a_killed_fold_costs_the_other_nothing(
    split, run_cli, one_thread
):
    command = ["train.py", "--fold", "0,1", *SMALL, "train.epochs=6", "augment.mixup=0.2"]
    assert run_cli(*command, "--name", "row")[0] == 0
    killing = meanwhile(lambda: os.kill(pid_of("apart", 0), signal.SIGKILL))
    status, out, err = run_cli(*command, "--name", "apart", "--jobs", "2")
    killing.join()
    assert status == 2 and err.splitlines() == [
        "fold 0  failed: its process was killed, perhaps for want of memory",
        "error: fold 0 failed, as said above; mend that and give the same command again",
    ]
    assert "fold 1  epoch 6/6" in out and "\r" not in out  # no bar without a terminal
    assert read_json(Path("runs/apart/metrics.json"))["folds_done"] == [1]
    about = read_json(Path("runs/apart/fold1/fold.json"))
    assert about["status"] == "done" and about["threads"] == 1 and about["pid"] != os.getpid()
    assert run_cli(*command, "--name", "apart")[0] == 0

    exact = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    for fold in ("fold0", "fold1"):
        row, apart = (Path("runs") / name / fold for name in ("row", "apart"))
        assert_same_weights(row, apart)
        assert (row / "last.csv").read_bytes() == (apart / "last.csv").read_bytes()
        pd.testing.assert_frame_equal(*(pd.read_csv(place / "history.csv")[exact] for place in (row, apart)))
    assert read_json(Path("runs/row/metrics.json"))["oof"] == read_json(Path("runs/apart/metrics.json"))["oof"]


def test_a_fold_that_is_asked_to_stop_saves_first(split):
    ours, theirs = multiprocessing.Pipe()
    ours.send("stop")
    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            load("configs/deep_efficientnet.yaml", SMALL, "x")[0], fold="0", observers=[ParentObserver(theirs, 2)]
        )
    saved = torch.load("runs/x/fold0/resume.pt", weights_only=True)["fit"]  # a minute had not passed
    assert len(saved["history"]) < 2 and saved["step"] > 0 and ours.recv()[0] == "share"


def test_the_first_ctrl_c_asks_every_fold_to_stop_and_starts_no_other(monkeypatch, capfd):
    started = []

    def start(seat, fold, *_):
        ours, theirs = multiprocessing.Pipe()
        started.append(theirs)
        assert fold < 2
        if fold == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return FoldProcess(seat, fold, ours, SimpleNamespace(kill=lambda: None))

    def obey():
        for theirs in started:
            assert theirs.recv() == "stop"
            theirs.send(("end", None))
            theirs.close()

    monkeypatch.setattr(FoldProcess, "start", start)
    meanwhile(lambda: (wait_until(lambda: len(started) == 2), obey()))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_parallel(None, None, range(6), 2)
    assert len(started) == 2 and capfd.readouterr().err == "every fold saves and stops; Ctrl-C again stops at once\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_no_more_than_n_at_a_time_and_every_seat_is_taken_again(monkeypatch):
    started, running = [], {}

    def start(seat, fold, *_):
        started.append((fold, seat))
        ours, running[fold] = multiprocessing.Pipe()
        assert len(running) <= 3
        ending = list(running) if fold == 5 else [1] if len(running) == 3 and 1 in running else list(running)[2:]
        for each in ending:
            running[each].send(("end", "it was told to fail" if each == 1 else None))
            running.pop(each).close()
        return FoldProcess(seat, fold, ours, SimpleNamespace(kill=lambda: None))

    monkeypatch.setattr(FoldProcess, "start", start)
    assert train_parallel(None, None, range(6), 3) == [1]
    # the first three take a seat each; 1 ends, and 3 takes its seat; from then on one seat is passed on
    assert started == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 1), (5, 1)]


def test_gpus_are_dealt_out_unless_one_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [device_for_slot(seat, torch.device("cuda")) for seat in range(4)] == [
        "cuda:0",
        "cuda:1",
        "cuda:2",
        "cuda:0",
    ]
    assert device_for_slot(1, torch.device("cuda:0")) == "cuda:0" and device_for_slot(1, torch.device("cpu")) == "cpu"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_goes_leaves_no_training_behind(number, split):
    """Killed, asked to end, or told twice by Ctrl-C."""
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
    wait_until(lambda: not any(map(lives, children)))
    assert not any(map(lives, children))


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_again_lose_nothing(split, run_cli, one_thread):
    command = ["train.py", "--fold", "0,1", *SMALL, "train.epochs=40", "--jobs", "2", "--name"]
    assert run_cli(*command, "whole")[0] == 0
    interrupting = meanwhile(
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
