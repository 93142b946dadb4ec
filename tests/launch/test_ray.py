"""Folds as tasks of Ray: two nodes play two machines that share no disk, and one of them is killed in mid-fold."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from comp.files import read_json
from comp.runs import FoldDir
from tests.conftest import REPO_ROOT, SMALL

pytest.importorskip("ray", reason="needs the extra: pip install -e '.[ray]'")
pytestmark = pytest.mark.slow
LOCAL_COMMAND = [
    *(sys.executable, str(REPO_ROOT / "train.py"), *SMALL),
    *("augment.mixup=0.2", "train.ema=0.9", "train.save_every=0.5", "train.snapshots=2"),
]
COMMAND = [*LOCAL_COMMAND, "--launcher", "ray"]
EXACT = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]


@pytest.fixture
def machines(tmp_path, monkeypatch) -> Iterator:
    """A cluster of this machine, where the command runs and no fold may, and two nodes with a TMPDIR each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(REPO_ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        nodes.append(cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(tmp_path / name)}))
    cluster.machines = nodes
    yield cluster
    cluster.shutdown()


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def train_locally(*overrides: str) -> None:
    subprocess.run([*LOCAL_COMMAND, *overrides, "--name", "whole"], check=True)


def assert_same_as_whole(name: str, folds: range) -> None:
    for fold in folds:
        whole, other = (Path(f"runs/{run}/fold{fold}") for run in ("whole", name))
        files = sorted(path.relative_to(whole) for path in whole.rglob("*") if not path.name.startswith("."))
        assert files == sorted(path.relative_to(other) for path in other.rglob("*") if not path.name.startswith("."))
        for file in [file for file in files if file.suffix == ".pt"]:
            one, two = (torch.load(run / file, weights_only=True)["state_dict"] for run in (whole, other))
            assert all(torch.equal(value, two[key]) for key, value in one.items())
        assert (whole / "last.npz").read_bytes() == (other / "last.npz").read_bytes()
        histories = [pd.read_csv(run / "history.csv")[EXACT] for run in (whole, other)]
        pd.testing.assert_frame_equal(*histories, check_exact=True)
        assert FoldDir(other).is_done
    scores = [read_json(Path(f"runs/{run}/metrics.json")) for run in ("whole", name)]
    assert scores[0] | {"run": name} == scores[1]


def test_ray_killed_node_loses_nothing_and_gives_the_bits_of_local_folds(workspace, machines, run_cli, tmp_path):
    assert run_cli("comp", "folds", *SMALL, "folds.k=5")[0] == 0
    settings = ["folds.k=5", "train.epochs=30"]
    train_locally(*settings)
    process = subprocess.Popen([*COMMAND, "--address", machines.address, *settings, "--name", "x"])
    one = tmp_path / "one"

    def fold_on_one() -> Path | None:
        """The checkpoint at home of a fold that the first node is training."""
        copies = [path.parent.name for path in one.rglob("runs/x/fold*/resume.pt")]
        return next((path for name in copies if (path := Path("runs/x", name, "resume.pt")).is_file()), None)

    wait_until(fold_on_one, process)
    fold_dir = fold_on_one().parent
    machines.remove_node(machines.machines[0], allow_graceful=False)
    assert process.wait(300) == 0
    assert "resumes at step" in (fold_dir / "train.log").read_text()
    assert_same_as_whole("x", range(5))
    assert not [*tmp_path.rglob("other/*/*/runs/x/fold*")]  # a node keeps images, and no finished fold


def test_ray_interrupted_command_and_a_failed_fold(workspace, machines, run_cli, capfd):
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    settings = ["train.epochs=40"]
    train_locally(*settings)
    command = [*COMMAND, "--address", machines.address, *settings, "--name", "x"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until(Path("runs/x/fold0/resume.pt").is_file, process)
    other = subprocess.run(command, capture_output=True, text=True)
    assert other.returncode == 2 and "is being trained by another process" in other.stderr
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and err.splitlines() == [
        *("every fold saves and stops; Ctrl-C again stops at once", "interrupted; run the same command again to resume")
    ]
    assert not FoldDir(Path("runs/x/fold0")).is_done
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0 and "resumes at step" in finished.stdout
    assert_same_as_whole("x", range(3))

    Path("runs/x/fold1/weights.pt").unlink()  # so that it is trained again, from what is no checkpoint
    Path("runs/x/fold1/resume.pt").write_bytes(b"no checkpoint")
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.splitlines() == [
        "fold 1  failed: runs/x/fold1/resume.pt is truncated or not a checkpoint of this kit; restore it, or delete it "
        "and train the fold again",
        "error: fold 1 failed (see the error above); fix the cause and run the same command again",
    ]
    assert read_json(Path("runs/x/fold1/fold.json"))["status"] == "failed"
