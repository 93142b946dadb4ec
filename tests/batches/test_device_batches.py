"""Whole batches made on the device: the images, labels and draws of the step, wherever the squares come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.device_batches import DeviceBatches, choose_augment_device, load_device_pool
from comp.batches.loader import TrainingSet
from comp.batches.oversample import oversample
from comp.config import load
from comp.data.cache import Cache
from comp.files import read_json
from comp.training import components, setup, train
from tests.conftest import SMALL

CPU = torch.device("cpu")


@pytest.fixture
def source(tmp_path) -> TrainingSet:
    """50 of 60 random images in three classes of 30, 15 and 5."""
    draw = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", draw.integers(0, 256, (60, 48, 48, 3), dtype=np.uint8))
    labels = draw.permutation(np.repeat([0, 1, 2], [30, 15, 5]))
    return TrainingSet(
        Cache(tmp_path / "images.npy", 60, 48),
        draw.permutation(60)[:50],
        labels,
        24,
        8,
        ImageAugmenter("heavy"),
        (42, 0),
    )


def same(a, b, apart: float = 0.0) -> bool:
    return all(
        torch.equal(labels, others) and (images - other).abs().max() <= apart
        for (images, labels), (other, others) in zip(a, b, strict=True)
    )


def streamed(source: TrainingSet, steps: range, workers: int = 0) -> list:
    return list(DeviceBatches(source, CPU, workers, None)(steps))


@pytest.mark.parametrize("method", ["none", "smote", "gupta"])
def test_the_same_batches_come_from_a_pool_as_from_the_file(source, method):
    source = oversample(source, method)
    pool = load_device_pool(source.squares, CPU)
    assert np.array_equal(pool.numpy(), np.stack([source.squares[row] for row in range(60)]))
    steps = range(3, 2 * source.steps_per_epoch + 1)
    apart = 1.6 if method == "smote" else 0  # OpenCV and torch may round the half of a blend to either side
    assert same(streamed(source, steps), DeviceBatches(source, CPU, 0, pool)(steps), apart)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # on 2 cores, and on purpose
def test_neither_workers_nor_a_restart_change_anything(source):
    whole = streamed(source, range(20))
    assert same(whole[7:], streamed(source, range(7, 20), workers=4))


def test_the_parts_of_several_processes_are_the_batch(source):
    steps = range(5, 9)
    whole, parts = streamed(source, steps), [streamed(replace(source, shard=(rank, 3)), steps) for rank in range(3)]
    for number, step in enumerate(steps):
        for rank in range(3):
            images, labels = parts[rank][number]
            places = replace(source, shard=(rank, 3)).plan_step(step).positions
            where = [source.plan_step(step).positions.index(place) for place in places]
            assert torch.equal(labels, whole[number][1][where])
            assert torch.allclose(images, whole[number][0][where], atol=0.01)


def test_both_ways_train_on_the_same_images_in_the_same_order(source):
    """Only what the policy draws differs; `none` draws nothing, so there the pixels are alike too."""
    source = replace(source, augmenter=ImageAugmenter("none"))
    for step, (images, labels) in enumerate(streamed(source, range(20))):
        pixels, numbers = source[step]
        assert torch.equal(labels, numbers) and (images.permute(0, 2, 3, 1) - pixels).abs().max() <= 0.51


def test_no_two_epochs_are_alike(source):
    source = replace(source, rows=np.repeat(source.rows[:1], 50), augmenter=ImageAugmenter("paper"))
    pictures = torch.cat([images for images, _ in streamed(source, range(3 * source.steps_per_epoch))])
    assert len({picture.numpy().tobytes() for picture in pictures}) == 150


def test_added_copies_go_through_the_policy_they_were_added_with(source):
    source = oversample(replace(source, augmenter=ImageAugmenter("none")), "flips")
    plain = {source.squares[row].tobytes() for row in source.rows}
    source = replace(source, size=48)
    for step, (images, _) in enumerate(streamed(source, range(source.steps_per_epoch))):
        _, _, items = source.plan_step(step)
        turned = np.array([image.round().byte().permute(1, 2, 0).numpy().tobytes() not in plain for image in images])
        assert not turned[items < source.oversampled.first_index].any()
    assert turned.any()


def test_where_to_augment_is_chosen_by_the_device_unless_named():
    cuda, mps = torch.device("cuda"), torch.device("mps")
    assert [choose_augment_device("auto", device) for device in (CPU, cuda, mps)] == ["cpu", "gpu", "cpu"]
    assert choose_augment_device("gpu", CPU) == "gpu" and choose_augment_device("cpu", cuda) == "cpu"


class Killed:
    """An observer that stops the training as a signal would, after its first epoch."""

    def log_step(self, *_):
        pass

    def log_epoch(self, *_):
        raise KeyboardInterrupt

    log_predictions = close = log_step


def test_a_run_records_where_it_augments_and_stays_with_it(workspace, run_cli, monkeypatch):
    """Also when it goes on where `auto` would choose otherwise: begun as on a GPU, killed, and finished on a CPU."""
    run_cli("comp", "folds", *SMALL)
    command = ["train.py", "--fold", "0", *SMALL, "train.save_every=0"]
    for name in ("gpu", "cpu"):
        assert run_cli(*command, "--name", name, f"augment.device={name}")[0] == 0
    config = load("configs/deep_efficientnet.yaml", [*SMALL, "train.save_every=0"], "auto")[0]
    with monkeypatch.context() as there, pytest.raises(KeyboardInterrupt):
        there.setattr(setup, "choose_augment_device", lambda *_: "gpu")
        train.run_experiment(config, fold="0", observers=[Killed()])
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


def test_a_training_from_a_pool_is_one_from_the_file(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    for name in ("file", "pool"):
        assert run_cli("train.py", "--fold", "0", *SMALL, "augment.device=gpu", "--name", name)[0] == 0
        monkeypatch.setattr(components, "make_device_pool", load_device_pool)
    assert Path("runs/file/fold0/last.csv").read_bytes() == Path("runs/pool/fold0/last.csv").read_bytes()


def test_oversampling_and_reconstruction_train_on_whole_batches_too(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    small = [override for override in SMALL if "model.name" not in override]
    status, _, err = run_cli(
        "train.py",
        "--debug",
        "--fold",
        "0",
        *small,
        "augment.device=gpu",
        "augment.oversample=smote",
        "model.name=gupta_autoclassifier",
        "train.pretrain_epochs=1",
        "model.dropout=null",
        "model.drop_path=null",
    )
    assert (status, err) == (0, "")
