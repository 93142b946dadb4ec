"""One training in two processes, as torchrun starts them: the same curve as one, and one of them writes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from comp.batches.loader import shard_indices
from comp.engine import distributed
from comp.engine.device import choose_device
from comp.engine.mixup import Mix
from comp.errors import UserError
from comp.files import read_json
from comp.training import progress
from tests.conftest import REPO_ROOT, SMALL

# no BatchNorm, no dropout; batches of 10, 10, 10 and 2 (or 11), two to an update, so that the last has no pair of
# images for the second process; a schedule that looks at the validation loss
PLAIN = [
    *SMALL,
    "model.name=test_vit",
    "model.dropout=null",
    "model.drop_path=null",
    "data.size=32",
    "train.batch=10",
    "train.accumulate=2",
    "train.ema=0.2",
    "train.save_every=0",
    "augment.policy=flips",
    "augment.mixup=0.4",
    "optim.lr=2e-3",
    "optim.clip=1",
    "schedule.name=plateau",
    "schedule.patience=1",
    "schedule.gamma=0.5",
]
# the second process works where nothing but the data is, as on a machine of its own
APART = f"""
import os, sys
sys.path.insert(0, {str(REPO_ROOT)!r})
if os.environ["RANK"] == "1":
    os.chdir("elsewhere")
from comp.cli import run_main
from train import main
raise SystemExit(run_main(main))
"""
# the second process meets something that the first does not
FAILING = f"""
import os, sys
sys.path.insert(0, {str(REPO_ROOT)!r})
from comp.cli import run_main
from comp.engine import distributed, fit
from comp.errors import UserError
from train import main
step = fit._optimizer_step
def fail(state, *rest):
    if distributed.rank() == 1 and state.step >= 6:
        raise UserError("the cat has the cable")
    step(state, *rest)
fit._optimizer_step = fail
raise SystemExit(run_main(main))
"""


def torchrun(*command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command],
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def uneven(workspace, run_cli):
    """47 images: folds of 16, 16 and 15."""
    next(Path("input/tiny/train/platelet").iterdir()).unlink()
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    sizes = pd.read_csv("folds/tiny.csv")["fold"].value_counts()
    return int(sizes.idxmin()), int(sizes.idxmax())


def test_two_processes_have_the_curve_of_one_and_one_of_them_writes(uneven, run_cli, monkeypatch):
    smaller, larger = uneven
    command = ["train.py", "--fold", f"{smaller},{larger}", *PLAIN, "train.epochs=6"]
    assert run_cli(*command, "--name", "one")[0] == 0
    saves, save = [], progress.save_checkpoint

    def die_at_the_third(*arguments):
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt
        save(*arguments)

    with monkeypatch.context() as patch:  # the first fold is begun by one process and goes on in two
        patch.setattr(progress, "save_checkpoint", die_at_the_third)
        assert run_cli(*command, "--name", "two")[0] == 130
    for name in ("configs", "input", "folds"):
        shutil.copytree(name, f"elsewhere/{name}")
    Path("apart.py").write_text(APART)
    process = torchrun("apart.py", *command[1:], "--name", "two")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err

    assert sorted(os.listdir("elsewhere/runs")) == [".cache"]
    assert out.count("epoch 6/6") == 2 and out.count("CV ") == 1 and "resumes at step 8" in out
    same = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    for fold in uneven:
        one, two = (Path("runs") / name / f"fold{fold}" for name in ("one", "two"))
        assert {file.name for file in one.iterdir()} == {file.name for file in two.iterdir()}
        assert read_json(two / "fold.json")["processes"] == 2
        histories = [pd.read_csv(place / "history.csv")[same] for place in (one, two)]
        assert histories[0]["train_loss"].nunique() == 6
        pd.testing.assert_frame_equal(*histories, check_exact=False, rtol=1e-5)
        tables = [pd.read_csv(place / "last.csv", index_col="image") for place in (one, two)]
        assert list(tables[0].index) == list(tables[1].index) and (tables[0]["label"] == tables[1]["label"]).all()
        np.testing.assert_allclose(*(table.drop(columns=["label", "fold"]) for table in tables), atol=1e-6)
    assert any(pd.read_csv(f"runs/one/fold{fold}/history.csv")["lr"].nunique() > 1 for fold in uneven)  # it did look


@pytest.mark.slow
def test_killed_at_any_moment_two_processes_end_as_if_they_had_not_been(uneven):
    command = [
        str(REPO_ROOT / "train.py"),
        "--fold",
        "0",
        *PLAIN,
        "model.name=sharif_deep_efficientnet",
        "model.dropout=0.3",
        "model.drop_path=0.2",
        "train.epochs=25",
    ]
    process = torchrun(*command, "--name", "whole")
    assert process.communicate()[0] and process.returncode == 0
    chance, saved = random.Random(0), Path("runs/killed/fold0/resume.pt")
    for _ in range(2):
        before = saved.stat().st_mtime_ns if saved.is_file() else None
        process = torchrun(*command, "--name", "killed")
        while process.poll() is None and (not saved.is_file() or saved.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.6))
        assert process.poll() is None
        workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        for pid in (process.pid, *map(int, workers)):  # all at once, as when the power fails
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    process = torchrun(*command, "--name", "killed")
    assert process.communicate()[0] and process.returncode == 0
    whole, killed = (
        torch.load(f"runs/{name}/fold0/weights.pt", weights_only=True)["state_dict"] for name in ("whole", "killed")
    )
    assert all(torch.equal(value, killed[key]) for key, value in whole.items())  # BatchNorm and dropout too


@pytest.mark.slow
def test_a_process_that_fails_ends_them_all_with_its_own_words(uneven):
    Path("failing.py").write_text(FAILING)
    start = time.monotonic()
    process = torchrun("failing.py", "--fold", "0", *PLAIN, "train.epochs=100000", "--name", "x")
    _, err = process.communicate(timeout=300)
    assert process.returncode
    assert [line for line in err.splitlines() if line.startswith("error: ")] == ["error: the cat has the cable"]
    assert time.monotonic() - start < 240
    process = torchrun("failing.py", "--fold", "0", *PLAIN, "train.epoch=3")
    assert process.communicate()[1].count("did you mean train.epochs") == 1  # both met it, one tells


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_parts_of_a_batch_are_the_batch(world):
    for count in range(1, 35):
        parts = [shard_indices(count, rank, world) for rank in range(world)]
        assert sorted(place for part in parts for place in part) == list(range(count))
        assert all(len(part) != 1 for part in parts) or count == 1
        assert shard_indices(count, 0, 1) == list(range(count))


@pytest.mark.parametrize("mix", [Mix(0.4, 0.0, 0, 4), Mix(0.0, 1.0, 0, 4)])
@pytest.mark.parametrize("count", [8, 11, 2])
def test_mixing_the_parts_is_mixing_the_whole(mix, count):
    images, labels = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(count) % 4
    whole = mix(images.clone(), labels, 5)
    for part in (shard_indices(count, rank, 3) for rank in range(3)):
        for mixed, expected in zip(mix(images[part].clone(), labels[part], 5), whole, strict=True):
            assert torch.equal(mixed, expected[part])


def test_alone_every_word_gives_back_what_it_was_given():
    model = torch.nn.BatchNorm2d(3)
    losses = [torch.tensor(1.5)]
    assert (
        distributed.rank() == distributed.local_rank() == 0
        and distributed.world_size() == distributed.local_world_size() == 1
    )
    assert distributed.call_on_rank_zero(lambda: "word") == "word" and distributed.gather("word") == ["word"]
    assert distributed.reduce_losses_and_statistics(losses, model) is losses and distributed.wrap_model(model) is model
    assert distributed.use_sync_batchnorm(model, torch.device("cuda")) is model
    with distributed.process_group():
        assert distributed.world_size() == 1


def test_processes_of_torchrun_want_devices_of_their_own(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("cpu") == torch.device("cpu")
    for wanted, words in (("cuda:0", "is one device"), ("mps", "is one device"), ("cuda", "cuda:1 is not there")):
        with pytest.raises(UserError, match=words):
            choose_device(wanted)


def test_torchrun_and_jobs_exclude_each_other(uneven, run_cli, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    status, _, err = run_cli("train.py", "--jobs", "2", *SMALL)
    assert status == 2 and "--jobs 2" in err and err.count("\n") == 1 and not Path("runs").exists()
