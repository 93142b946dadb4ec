"""`comp pretrain`: weights without labels that all folds start from, resumed to the bit, and stated by their runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.device_batches import DeviceBatches
from comp.batches.loader import TrainingSet
from comp.files import read_json
from comp.records.run import RunRecord
from comp.runs import list_runs
from comp.training import stage
from tests.conftest import SMALL

WEIGHTS = Path("runs/pretrained/ssl/weights.pt")


@pytest.fixture
def pretrain(workspace, run_cli):
    """Return `pretrain(name, ...)`, which pretrains under that name and returns (status, stdout, stderr)."""
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    keys = [*SMALL, "train.save_every=0", "train.batch=16"]
    return lambda name, *more: run_cli("comp", "pretrain", "--name", name, *keys, *more)


def backbone(name: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/pretrained/{name}/weights.pt", weights_only=True)["state_dict"]


def test_pretrained_backbone_starts_every_fold_and_its_runs_say_what_it_saw(pretrain, run_cli):
    status, out, err = pretrain("ssl", "simclr.test_images=true")
    assert (status, err) == (0, "") and "nearest features (k = 20) tell the class of 0." in out
    assert read_json(Path("runs/pretrained/ssl/run.json"))["unlabelled_images"] == ["test", "validation"]
    history = pd.read_csv("runs/pretrained/ssl/foldfull/pretrain.csv")
    assert list(history["epoch"]) == [1, 2] and history["loss"].iloc[1] < history["loss"].iloc[0]
    assert not list_runs()  # it has no classes to predict
    start = [*SMALL, f"model.weights={WEIGHTS}", "train.freeze_epochs=1", "train.epochs=1"]
    status, out, err = run_cli("train.py", "--fold", "0,1", "--name", "x", *start)
    assert (status, err) == (0, "") and "2 not in the file (classifier.weight, classifier.bias)" in out
    for fold in 0, 1:
        kept = torch.load(f"runs/x/fold{fold}/weights.pt", weights_only=True)["state_dict"]
        assert all(torch.equal(value, kept[key]) for key, value in backbone("ssl").items())
    assert RunRecord.read(Path("runs/x/run.json")).unlabelled_images == ("test", "validation")
    assert "trained with the pixels of validation and test images" in run_cli("comp", "leaderboard")[1]
    assert "exists already" in pretrain("ssl", "simclr.test_images=true")[1]


@pytest.mark.slow
def test_pretraining_without_test_images_never_reads_them(pretrain):
    for image in Path("input/tiny/test").iterdir():
        image.write_bytes(b"no image")
    assert pretrain("ssl", "train.epochs=1")[0] == 0
    assert read_json(Path("runs/pretrained/ssl/run.json"))["unlabelled_images"] == ["validation"]


@pytest.mark.slow
def test_killed_pretraining_resumes_to_the_bit(pretrain, monkeypatch):
    assert pretrain("whole")[0] == 0
    save_checkpoint = stage.save_checkpoint

    def save(*arguments):
        save_checkpoint(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "save_checkpoint", save)
        assert pretrain("killed")[0] == 130
    assert pretrain("killed")[0] == 0
    assert all(torch.equal(value, backbone("killed")[key]) for key, value in backbone("whole").items())
    assert not list(Path("runs/pretrained").rglob("resume.pt"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["schedule.name=plateau"], "pretrain has no validation loss for schedule.name=plateau"),
        (["train.init=x"], "pretrain starts from random weights; remove"),
        (["--name", "pretrained/x"], "is in a reserved directory"),
    ],
)
def test_pretraining_that_cannot_be_done_is_one_error(pretrain, keys, message):
    status, _, err = pretrain("x", *keys)
    assert status == 2 and err.count("\n") == 1 and message in err, err
    assert not Path("runs/pretrained").exists()


class Squares(list):
    """Squares in memory, as a cache."""

    side = 24


def test_two_views_are_the_same_images_augmented_differently():
    rng = np.random.default_rng(0)
    squares = Squares(rng.integers(0, 256, (12, 24, 24, 3), np.uint8))
    plain = TrainingSet(squares, np.arange(12), np.arange(12), 24, 6, ImageAugmenter("none"), (0, 0))
    assert torch.equal(plain[1][0], replace(plain, view=1)[1][0])  # the same images in the same order
    flips = replace(plain, augmenter=ImageAugmenter("flips"))
    first, second = flips[0][0], replace(flips, view=1)[0][0]
    assert not torch.equal(first, second)
    on_device = [
        next(iter(DeviceBatches(views, torch.device("cpu"), 0, None)(range(1))))[0]
        for views in (flips, replace(flips, view=1))
    ]
    assert not torch.equal(*on_device) and torch.equal(on_device[0].sum((2, 3)), on_device[1].sum((2, 3)))
