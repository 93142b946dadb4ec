"""One training in two processes, as torchrun starts them: the curve of a single process, and only rank 0 writes."""

from __future__ import annotations

import os
import random
import re
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
from comp.prediction_file import read_any_predictions
from comp.records import checkpoint
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
SEPARATE = f"""
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
# weights that are frozen or not used, an optimiser step of two batches, and no image for the second process in one;
# then a model with BatchNorm, and one whose backbone is frozen in the first epoch
TWO_MODELS = f"""
import sys
sys.path.insert(0, {str(REPO_ROOT)!r})
from comp.engine import distributed  # before torch, as in train.py
from dataclasses import replace
import torch
from torch import nn
from comp.batches.loader import ShardInfo, shard_indices
from comp.engine.fit import FitOptions, TrainData, TrainState, fit

SIZES = [8, 2, 5, 8]
cpu, images = torch.device("cpu"), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
loss = nn.CrossEntropyLoss(reduction="none")
options = FitOptions(epochs=3, device=cpu, precision="fp32", rng_key=(0, 0), accumulate=2)

def shard(step):
    return shard_indices(SIZES[step % 4], distributed.rank(), distributed.world_size())

def batches(steps):
    for step in steps:
        yield images[shard(step) or [0, 1]], torch.arange(8)[shard(step) or [0, 1]] % 2

class Frozen(nn.Sequential):
    def get_classifier(self):
        return self[2]

def train(model, freeze_epochs=0):
    state = TrainState(model, torch.optim.SGD(model.parameters(), 0.5), torch.amp.GradScaler("cpu", enabled=False))
    data = TrainData(batches, torch.clone, 4, lambda step: ShardInfo(bool(shard(step)), SIZES[step % 4]))
    losses = []
    for event in fit(state, data, replace(options, freeze_epochs=freeze_epochs), loss=loss, lr_at=lambda *_: 0.5):
        losses.append(event.train_loss)
        state.history.append({{"val_loss": None}})
    return {{"losses": losses, "model": model.state_dict()}}

with distributed.process_group():
    torch.manual_seed(distributed.rank())  # rank 0's weights are sent to the others
    plain = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    plain[2].unused = nn.Parameter(torch.ones(2))
    plain[0].bias.requires_grad_(False)
    normed = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    frozen = Frozen(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    results = {{"plain": train(plain), "normed": train(normed), "frozen": train(frozen, 1)}}
    torch.save(results, f"rank{{distributed.rank()}}of{{distributed.world_size()}}.pt")
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


def test_train_two_processes_have_the_curve_of_one_and_only_rank_zero_writes(uneven, run_cli, monkeypatch):
    smaller, larger = uneven
    command = ["train.py", "--fold", f"{smaller},{larger}", *PLAIN, "train.epochs=6"]
    assert run_cli(*command, "--name", "one")[0] == 0
    saves, save = [], checkpoint.save_checkpoint

    def interrupt_third_save(*arguments):
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt
        save(*arguments)

    with monkeypatch.context() as patch:  # the first fold starts in one process and continues in two
        patch.setattr(checkpoint, "save_checkpoint", interrupt_third_save)
        assert run_cli(*command, "--name", "two")[0] == 130
    for name in ("configs", "input", "folds"):
        shutil.copytree(name, f"elsewhere/{name}")
    Path("separate.py").write_text(SEPARATE)
    process = torchrun("separate.py", *command[1:], "--name", "two")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "find_unused_parameters" not in err, err

    assert sorted(os.listdir("elsewhere/runs")) == [".cache"]
    # at the end of the second epoch, or earlier on a machine so slow that there were saves inside an epoch
    assert out.count("epoch 6/6") == 2 and out.count("CV ") == 1 and re.search(r"resumes at step [1-8] ", out)
    same = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    for fold in uneven:
        single, double = (Path("runs") / name / f"fold{fold}" for name in ("one", "two"))
        assert {file.name for file in single.iterdir()} == {file.name for file in double.iterdir()}
        assert read_json(double / "fold.json")["processes"] == 2
        histories = [pd.read_csv(fold_dir / "history.csv")[same] for fold_dir in (single, double)]
        assert histories[0]["train_loss"].nunique() == 6
        pd.testing.assert_frame_equal(*histories, check_exact=False, rtol=1e-5)
        tables = [read_any_predictions(fold_dir / "last.npz").table for fold_dir in (single, double)]
        assert list(tables[0].index) == list(tables[1].index) and (tables[0]["label"] == tables[1]["label"]).all()
        np.testing.assert_allclose(*(table.drop(columns=["label", "fold"]) for table in tables), atol=1e-6)
    assert any(pd.read_csv(f"runs/one/fold{fold}/history.csv")["lr"].nunique() > 1 for fold in uneven)


@pytest.mark.slow
def test_train_two_processes_killed_and_resumed_give_identical_weights(uneven):
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
    rng, saved = random.Random(0), Path("runs/killed/fold0/resume.pt")
    for _ in range(2):
        before = saved.stat().st_mtime_ns if saved.is_file() else None
        process = torchrun(*command, "--name", "killed")
        while process.poll() is None and (not saved.is_file() or saved.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.6))
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
def test_train_failing_process_ends_all_with_its_own_error(uneven):
    Path("failing.py").write_text(FAILING)
    start = time.monotonic()
    process = torchrun("failing.py", "--fold", "0", *PLAIN, "train.epochs=100000", "--name", "x")
    _, err = process.communicate(timeout=300)
    assert process.returncode
    assert [line for line in err.splitlines() if line.startswith("error: ")] == ["error: the cat has the cable"]
    assert time.monotonic() - start < 240
    process = torchrun("failing.py", "--fold", "0", *PLAIN, "train.epoch=3")
    assert process.communicate()[1].count("did you mean train.epochs") == 1  # both raise it, one prints


@pytest.mark.slow
def test_fit_two_processes_with_frozen_and_unused_weights_equal_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two_models.py").write_text(TWO_MODELS)
    process = torchrun("two_models.py")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "Warning" not in err, err
    subprocess.run([sys.executable, "two_models.py"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    single, first, second = (torch.load(f"{name}.pt") for name in ("rank0of1", "rank0of2", "rank1of2"))
    for model in ("plain", "frozen"):
        assert first[model]["losses"] == pytest.approx(single[model]["losses"], rel=1e-5)
        for name, weight in single[model]["model"].items():
            assert torch.allclose(first[model]["model"][name], weight, atol=1e-6), name
    for model in ("plain", "normed", "frozen"):  # running statistics too
        assert first[model]["losses"] == second[model]["losses"] and len(first[model]["losses"]) == 3
        assert first[model]["model"].keys() == single[model]["model"].keys()
        assert all(torch.equal(value, second[model]["model"][name]) for name, value in first[model]["model"].items())
    assert not torch.equal(first["normed"]["model"]["1.running_mean"], torch.zeros(5))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_shard_indices_of_all_ranks_are_the_batch(world):
    for count in range(1, 35):
        shards = [shard_indices(count, rank, world) for rank in range(world)]
        assert sorted(index for shard in shards for index in shard) == list(range(count))
        assert all(len(shard) != 1 for shard in shards) or count == 1
        assert shard_indices(count, 0, 1) == list(range(count))


@pytest.mark.parametrize("mix", [Mix(0.4, 0.0, 0, 4), Mix(0.0, 1.0, 0, 4)])
@pytest.mark.parametrize("count", [8, 11, 2])
def test_mix_of_shards_equals_mix_of_the_batch(mix, count):
    images, labels = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(count) % 4
    whole = mix(images.clone(), labels, 5)
    for shard in (shard_indices(count, rank, 3) for rank in range(3)):
        for mixed, expected in zip(mix(images[shard].clone(), labels[shard], 5), whole, strict=True):
            assert torch.equal(mixed, expected[shard])


@pytest.mark.parametrize(
    ("processes", "device", "batch", "synchronised"),
    [(2, "cuda", 31, True), (2, "cuda", 32, False), (4, "cuda", 32, True), (1, "cuda", 4, None), (2, "cpu", 4, None)],
)
def test_choose_sync_batchnorm_only_where_a_gpu_has_few_images(monkeypatch, processes, device, batch, synchronised):
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    assert distributed.choose_sync_batchnorm(batch, torch.device(device)) is synchronised


def test_distributed_single_process_returns_inputs():
    model = torch.nn.BatchNorm2d(3)
    losses = [torch.tensor(1.5)]
    assert (
        distributed.rank() == distributed.local_rank() == 0
        and distributed.world_size() == distributed.local_world_size() == 1
    )
    assert distributed.call_on_rank_zero(lambda: "value") == "value" and distributed.gather("value") == ["value"]
    assert distributed.reduce_losses_and_statistics(losses, model) is losses and distributed.wrap_model(model) is model
    assert distributed.use_sync_batchnorm(model, torch.device("cuda")) is model
    with distributed.process_group():
        assert distributed.world_size() == 1


def test_reduce_losses_and_statistics_sums_losses_and_averages_running_statistics(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda message: message.add_(6.0))  # what the other two hold
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2).eval())
    for norm in model:
        norm.running_mean.fill_(3.0)
    losses = distributed.reduce_losses_and_statistics([torch.tensor(1.5), torch.tensor(2.5)], model)
    assert [float(loss) for loss in losses] == [7.5, 8.5]
    assert model[0].running_mean.tolist() == [3.0, 3.0] and model[0].running_var.tolist() == pytest.approx([7 / 3] * 2)
    assert model[1].running_mean.tolist() == [3.0, 3.0] and model[1].running_var.tolist() == [1.0] * 2  # frozen


def test_choose_device_under_torchrun_needs_a_device_per_process(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("cpu") == torch.device("cpu")
    for name, message in (("cuda:0", "is one device"), ("mps", "is one device"), ("cuda", "cuda:1 is not available")):
        with pytest.raises(UserError, match=message):
            choose_device(name)


def test_train_torchrun_with_jobs_is_a_user_error(uneven, run_cli, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    status, _, err = run_cli("train.py", "--jobs", "2", *SMALL)
    assert status == 2 and "--jobs 2" in err and err.count("\n") == 1 and not Path("runs").exists()
