"""A training that is killed at any moment and resumed ends with the weights of one that was not killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import REPO_ROOT, SMALL

COMMAND = [
    sys.executable,
    str(REPO_ROOT / "train.py"),
    "--fold",
    "0",
    *SMALL,
    "model.name=sharif_deep_efficientnet",
    "model.dropout=0.3",
    "model.drop_path=0.2",
    "augment.policy=paper",
    "augment.mixup=0.2",
    "train.ema=0.9",
    "train.accumulate=2",
    "train.batch=4",
    "train.save_every=0",
    "train.snapshots=3",
    "train.patience=1000",  # otherwise it is known from the start which epochs are the last
]


@pytest.mark.parametrize(("kills", "epochs"), [(2, 12), pytest.param(20, 150, marks=pytest.mark.slow)])
def test_train_killed_repeatedly_gives_identical_weights(kills, epochs, workspace):
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    subprocess.run([sys.executable, "-m", "comp", "folds", *SMALL], env=environment, check=True)
    command = [*COMMAND, f"train.epochs={epochs}"]
    subprocess.run([*command, "--name", "whole"], env=environment, check=True)

    rng = random.Random(kills)
    saved = Path("runs/killed/fold0/resume.pt")
    for _ in range(kills):
        before = saved.stat().st_mtime_ns if saved.is_file() else None
        process = subprocess.Popen([*command, "--name", "killed"], env=environment)
        # Wait for the first save of this process; after that it may be killed at any moment, also during a save.
        while process.poll() is None and (not saved.is_file() or saved.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.6))
        assert process.poll() is None, "the training ended before it could be killed: it needs more epochs"
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "--name", "killed"], env=environment, check=True)

    whole, killed = (torch.load(f"runs/{name}/fold0/weights.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(value, killed["state_dict"][key]) for key, value in whole["state_dict"].items())
    exact = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    histories = [pd.read_csv(f"runs/{name}/fold0/history.csv")[exact] for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert Path("runs/whole/fold0/last.npz").read_bytes() == Path("runs/killed/fold0/last.npz").read_bytes()
    kept = [sorted(Path(f"runs/{name}/fold0/snapshots").iterdir()) for name in ("whole", "killed")]
    assert {file.name for file in kept[0]} == {f"epoch{epochs - back}.pt" for back in range(3)}
    assert [file.name for file in kept[0]] == [file.name for file in kept[1]]
    for files in zip(*kept, strict=True):
        whole, killed = (torch.load(file, weights_only=True)["state_dict"] for file in files)
        assert all(torch.equal(value, killed[key]) for key, value in whole.items())
    assert not saved.exists() and "resumes at step" in Path("runs/killed/fold0/train.log").read_text()
