"""Batches made on the device depend on the step, and not on whether the squares come from the pool or the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.device_batches import DeviceBatches, choose_augment_device, fits_device, load_device_pool
from comp.batches.loader import TrainingSet
from comp.batches.oversample import oversample
from comp.config import load
from comp.data.cache import Cache
from comp.files import read_json
from comp.training import components, setup, train
from tests.conftest import SMALL

CPU = torch.device("cpu")


@pytest.fixture
def train_set(tmp_path) -> TrainingSet:
    """50 of 60 random images in three classes of 30, 15 and 5."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (60, 48, 48, 3), dtype=np.uint8))
    targets = rng.permutation(np.repeat([0, 1, 2], [30, 15, 5]))
    return TrainingSet(
        Cache(tmp_path / "images.npy", 60, 48),
        rng.permutation(60)[:50],
        targets,
        24,
        8,
        ImageAugmenter("heavy"),
        (42, 0),
    )


def same(a, b, tolerance: float = 0.0) -> bool:
    return all(
        torch.equal(targets, others) and (images - other).abs().max() <= tolerance
        for (images, targets), (other, others) in zip(a, b, strict=True)
    )


def read_batches(train_set: TrainingSet, steps: range, workers: int = 0) -> list:
    return list(DeviceBatches(train_set, CPU, workers, None)(steps))


@pytest.mark.parametrize("method", ["none", "smote", "gupta"])
def test_device_batches_pool_and_file_give_the_same_batches(train_set, method):
    train_set = oversample(train_set, method)
    device_pool = load_device_pool(train_set.squares, CPU)
    assert np.array_equal(device_pool.numpy(), np.stack([train_set.squares[row] for row in range(60)]))
    steps = range(3, 2 * train_set.steps_per_epoch + 1)
    tolerance = 1.6 if method == "smote" else 0  # OpenCV and torch may round the half of a blend to either side
    assert same(read_batches(train_set, steps), DeviceBatches(train_set, CPU, 0, device_pool)(steps), tolerance)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # on 2 cores, and on purpose
def test_device_batches_workers_and_restart_change_nothing(train_set):
    batches = read_batches(train_set, range(20))
    assert same(batches[7:], read_batches(train_set, range(7, 20), workers=4))


def test_device_batches_shards_together_are_the_batch(train_set):
    steps = range(5, 9)
    batches = read_batches(train_set, steps)
    shards = [read_batches(replace(train_set, shard=(rank, 3)), steps) for rank in range(3)]
    for index, step in enumerate(steps):
        for rank in range(3):
            images, targets = shards[rank][index]
            positions = replace(train_set, shard=(rank, 3)).plan_step(step).positions
            indices = [train_set.plan_step(step).positions.index(position) for position in positions]
            assert torch.equal(targets, batches[index][1][indices])
            assert torch.allclose(images, batches[index][0][indices], atol=0.01)


def test_device_batches_have_the_images_and_order_of_the_training_set(train_set):
    """Only the sampled transforms differ; `none` samples nothing, so its pixels are equal too."""
    train_set = replace(train_set, augmenter=ImageAugmenter("none"))
    for step, (images, targets) in enumerate(read_batches(train_set, range(20))):
        pixels, expected = train_set[step]
        assert torch.equal(targets, expected) and (images.permute(0, 2, 3, 1) - pixels).abs().max() <= 0.51


def test_device_batches_epochs_differ(train_set):
    train_set = replace(train_set, rows=np.repeat(train_set.rows[:1], 50), augmenter=ImageAugmenter("paper"))
    all_images = torch.cat([images for images, _ in read_batches(train_set, range(3 * train_set.steps_per_epoch))])
    assert len({image.numpy().tobytes() for image in all_images}) == 150


def test_device_batches_oversampled_copies_use_their_own_policy(train_set):
    train_set = oversample(replace(train_set, augmenter=ImageAugmenter("none")), "flips")
    plain = {train_set.squares[row].tobytes() for row in train_set.rows}
    train_set = replace(train_set, size=48)
    for step, (images, _) in enumerate(read_batches(train_set, range(train_set.steps_per_epoch))):
        _, _, items = train_set.plan_step(step)
        is_augmented = np.array(
            [image.round().byte().permute(1, 2, 0).numpy().tobytes() not in plain for image in images]
        )
        assert not is_augmented[items < train_set.oversampled.first_index].any()
    assert is_augmented.any()


def test_choose_augment_device_auto_depends_on_the_device():
    cuda, mps = torch.device("cuda"), torch.device("mps")
    assert [choose_augment_device("auto", device) for device in (CPU, cuda, mps)] == ["cpu", "gpu", "cpu"]
    assert choose_augment_device("gpu", CPU) == "gpu" and choose_augment_device("cpu", cuda) == "cpu"


def test_fits_device_processes_share_a_quarter_of_the_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (800, 1000))
    cuda = torch.device("cuda")
    assert fits_device(200, cuda, 1) and not fits_device(201, cuda, 1)
    assert fits_device(100, cuda, 2) and not fits_device(101, cuda, 2)
    assert not fits_device(1, CPU, 1)


class InterruptingObserver:
    """An observer that stops the training as a signal would, after its first epoch."""

    def log_step(self, *_):
        pass

    def log_epoch(self, *_):
        raise KeyboardInterrupt

    log_end = close = log_step


def test_train_resumed_run_keeps_its_augment_device(workspace, run_cli, monkeypatch):
    """A run that began with `gpu` keeps it when it is resumed on a CPU, where `auto` would choose `cpu`."""
    run_cli("comp", "folds", *SMALL)
    command = ["train.py", "--fold", "0", *SMALL, "train.save_every=0"]
    for name in ("gpu", "cpu"):
        assert run_cli(*command, "--name", name, f"augment.device={name}")[0] == 0
    config = load("configs/deep_efficientnet.yaml", [*SMALL, "train.save_every=0"], "auto")[0]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(setup, "choose_augment_device", lambda *_: "gpu")
        train.run_experiment(config, device=CPU, fold="0", observers=[InterruptingObserver()])
    assert run_cli(*command, "--name", "auto")[0] == 0
    recorded, weights = (
        {name: read(Path("runs") / name) for name in ("gpu", "cpu", "auto")}
        for read in (
            lambda path: read_json(path / "run.json")["augment_device"],
            lambda path: torch.load(path / "fold0/weights.pt", weights_only=True)["state_dict"],
        )
    )
    assert recorded == {"gpu": "gpu", "cpu": "cpu", "auto": "gpu"}
    assert all(torch.equal(value, weights["gpu"][key]) for key, value in weights["auto"].items())
    assert any(not torch.equal(value, weights["gpu"][key]) for key, value in weights["cpu"].items())


def test_train_device_pool_gives_the_results_of_the_file(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    for name in ("file", "pool"):
        assert run_cli("train.py", "--fold", "0", *SMALL, "augment.device=gpu", "--name", name)[0] == 0
        monkeypatch.setattr(
            components, "make_device_pool", lambda squares, device, _: load_device_pool(squares, device)
        )
    assert Path("runs/file/fold0/last.npz").read_bytes() == Path("runs/pool/fold0/last.npz").read_bytes()


def test_train_gpu_augmentation_with_oversampling_and_pretraining_runs(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    overrides = [override for override in SMALL if "model.name" not in override]
    status, _, err = run_cli(
        "train.py",
        "--debug",
        "--fold",
        "0",
        *overrides,
        "augment.device=gpu",
        "augment.oversample=smote",
        "model.name=gupta_autoclassifier",
        "train.pretrain_epochs=1",
        "model.dropout=null",
        "model.drop_path=null",
    )
    assert (status, err) == (0, "")
