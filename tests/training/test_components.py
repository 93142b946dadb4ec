"""The components of a fold: every key of a config acts, and with the value that the config gives it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from comp.config import merge, parse_overrides
from comp.data.duplicates import group_ids
from comp.data.folds import make_folds, write_folds
from comp.data.scan import scan
from comp.engine.fit import FitOptions
from comp.engine.mixup import Mix
from comp.engine.optim import ScheduleOptions
from comp.schema import Config, flatten
from comp.tasks.losses import balanced_weights, focal
from comp.training import components, init_weights, optimizer
from comp.training.components import build_components, fit_fold, make_train_state
from comp.training.setup import open_benchmark_setup
from tests.conftest import SMALL

CPU = torch.device("cpu")
LOGITS = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(16) % 8


@pytest.fixture(scope="module")
def split(tiny_dataset, tmp_path_factory):
    """A workspace with a split of three folds, and another of the same seed. Two classes are smaller, and no image is
    square."""
    workspace = tmp_path_factory.mktemp("components")
    shutil.copytree(tiny_dataset, workspace / "input" / "tiny")
    for name, keep in (("basophil", 3), ("platelet", 4)):
        for image in sorted((workspace / "input" / "tiny" / "train" / name).iterdir())[keep:]:
            image.unlink()
    for file in (workspace / "input" / "tiny" / "train").rglob("*.jpg"):
        image = Image.open(file)
        image.crop((0, 0, image.width, image.height * 2 // 3)).save(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        dataset = scan("input/tiny")
        for name, seed in (("tiny", 42), ("other", 1)):
            folds = make_folds(dataset, group_ids(dataset.train, []), 3, seed)
            write_folds(Path(f"folds/{name}.csv"), folds, dataset, 3, 42)
    return workspace


BASE = [*SMALL, "train.batch=10", "log.wandb=off"]
# key -> another value than BASE has, after the overrides under which the key acts
CHANGES = {
    "data.size": "data.size=16",
    "data.crop": "data.crop=20",
    "data.fit": "data.fit=pad",
    "data.workers": "data.workers=1",
    "folds.file": "folds.file=folds/other.csv",
    "augment.policy": "augment.policy=flips",
    "augment.device": "augment.device=gpu",
    "augment.oversample": "augment.oversample=flips",
    "augment.mixup": "augment.mixup=0.3",
    "augment.cutmix": "augment.cutmix=0.3",
    "augment.mix_off_epoch": "augment.mixup=0.3 augment.mix_off_epoch=1",
    "model.name": "model.name=test_resnet",
    "model.pretrained": "model.pretrained=true",
    "model.weights": "model.weights=another.pth",
    "model.dropout": "model.dropout=0.4",
    "model.drop_path": "model.drop_path=0.4",
    "model.init": "model.init=he",
    "model.kwargs": "model.kwargs.bn_eps=0.01",
    "loss.name": "loss.name=focal",
    "loss.label_smoothing": "loss.label_smoothing=0.2",
    "loss.class_weights": "loss.class_weights=balanced",
    "loss.focal_gamma": "loss.name=focal loss.focal_gamma=1",
    "optim.name": "optim.name=lion",
    "optim.lr": "optim.lr=0.02",
    "optim.weight_decay": "optim.weight_decay=0.3",
    "optim.decay_all": "optim.decay_all=true",
    "optim.momentum": "optim.name=sgd optim.momentum=0.5",
    "optim.layer_decay": "optim.layer_decay=0.5",
    "optim.clip": "optim.clip=0.5",
    "optim.clip_mode": "optim.clip=1 optim.clip_mode=agc",
    "schedule.name": "schedule.name=step",
    "schedule.warmup_epochs": "schedule.warmup_epochs=1",
    "schedule.min_lr": "schedule.min_lr=1e-5",
    "schedule.gamma": "schedule.gamma=0.3",
    "schedule.step_epochs": "schedule.step_epochs=3",
    "schedule.patience": "schedule.patience=7",
    "train.epochs": "train.epochs=5",
    "train.batch": "train.batch=6",
    "train.accumulate": "train.accumulate=2",
    "train.seed": "train.seed=7",
    "train.metric": "train.metric=log_loss",
    "train.ema": "train.ema=0.9",
    "train.balanced": "train.balanced=true",
    "train.precision": "train.precision=bf16",
    "train.freeze_epochs": "train.init=another train.freeze_epochs=1",
    "train.init": "train.init=another",
}
# what they do is tested where they act
ELSEWHERE = {
    "data.root",  # every test
    "folds.k",  # comp folds, and compared with the split: tests/data/test_folds.py, tests/test_cli.py
    "folds.seed",
    "folds.allow_split_groups",  # accepts a split or refuses it: tests/data/test_folds.py
    "train.pretrain_epochs",  # test_reconstruction.py
    "train.cuda_graph",  # tests/engine/test_cuda_graph.py
    "train.fit_memory",  # test_machines.py
    "train.deterministic",
    "train.keep",  # test_progress.py, test_keep.py
    "train.monitor",
    "train.patience",
    "train.save_every",
    "simclr.temperature",  # test_self_supervised.py
    "simclr.projection",
    "simclr.test_images",
    "teacher.runs",  # test_teacher.py
    "teacher.weight",
    "teacher.temperature",
    "teacher.tta",
    "teacher.test_images",
    "teacher.min_confidence",
    "train.snapshots",  # test_soup.py
    "data.labels",  # where labels are: tests/data/test_labels.py
    "data.image",
    "data.label",
    "data.separator",
    "data.group",
    "data.train",
    "data.test",
    "data.ids",
    "data.row",
    "data.pool",
    "data.allow_missing",
    "data.task",  # tests/tasks/
    "data.positive",
}


def make_config(*overrides: str) -> Config:
    return Config.model_validate(merge({"name": "x"}, parse_overrides([*BASE, *overrides])))


@pytest.fixture
def describe(split, monkeypatch):
    """Return `describe("key=value", ...)`: everything that fold 0 is trained with under a config."""
    monkeypatch.chdir(split)
    calls = {}

    def new_model(config: Config, classes: int, pretrained: bool) -> nn.Module:
        calls["pretrained"] = pretrained  # without a network
        return init_weights.new_model(config, classes, pretrained=False)

    monkeypatch.setattr(components, "new_model", new_model)
    monkeypatch.setattr(
        components,
        "load_init_weights",
        lambda model, config, *_: calls.update(init=(config.train.init, config.model.weights)),
    )
    monkeypatch.setattr(components, "fit", lambda state, data, options, **rest: calls.update(options=options, **rest))
    monkeypatch.setattr(optimizer, "make_schedule", lambda options: options)

    def call(*overrides: str) -> dict[str, object]:
        calls.clear()
        opened = open_benchmark_setup(make_config(*overrides), CPU)
        built = build_components(opened, 0, use_initial_weights=True)
        state = make_train_state(opened, built.model)
        fit_fold(opened, 0, built, state)
        images, targets = next(iter(built.batches(range(1))))
        model, parameter_names = built.model, {id(p): name for name, p in built.model.named_parameters()}
        return {
            **calls,
            "loss": calls["loss"](LOGITS, TARGETS).tolist(),
            "record": replace(opened.run.record, parameters=0),
            "workers": opened.workers,
            "train": (built.train_set.rows.tolist(), type(built.batches), images.numpy().tobytes(), targets.tolist()),
            "validation": [batch.numpy().tobytes() for batch in built.validation_batches()],
            "model": (repr(model), model.drop_rate, [float(p.detach().double().sum()) for p in model.parameters()]),
            "optimizer": (
                type(state.optimizer),
                [
                    {**group, "params": [parameter_names[id(p)] for p in group["params"]]}
                    for group in state.optimizer.param_groups
                ],
            ),
            "scaler": state.scaler.is_enabled(),
            "ema": state.ema and (state.ema.decay, state.ema.use_warmup),
        }

    return call


def test_config_every_key_is_tested_here_or_elsewhere():
    keys = {key for key in flatten(Config(name="x").model_dump(exclude={"name", "log", "infer", "submit"}))}
    assert {*CHANGES, *ELSEWHERE} == {*keys, "model.kwargs"} and not set(CHANGES) & ELSEWHERE


def test_build_components_every_key_of_the_config_changes_the_training(describe):
    """A key that is ignored, at its default, or taken for another would leave the training as it was."""
    base = describe()
    assert describe() == base
    for key, change in CHANGES.items():
        *conditions, last = change.split()
        assert last.startswith(key)
        assert describe(*conditions, last) != (describe(*conditions) if conditions else base), key


def test_fit_fold_passes_the_values_of_the_config(describe):
    trained = describe(
        *("augment.mixup=0.3", "augment.cutmix=0.7", "augment.mix_off_epoch=2", "train.batch=6", "train.accumulate=3"),
        *("loss.name=focal", "loss.label_smoothing=0.1", "loss.class_weights=balanced", "loss.focal_gamma=1.5"),
        *("optim.name=sgd", "optim.lr=0.02", "optim.weight_decay=0.3", "optim.momentum=0.5", "optim.layer_decay=0.5"),
        *("optim.clip=0.7", "optim.clip_mode=value", "schedule.name=plateau", "schedule.warmup_epochs=1.5"),
        *("schedule.min_lr=1e-5", "schedule.gamma=0.3", "schedule.step_epochs=4", "schedule.patience=6"),
        *("train.epochs=9", "train.seed=7", "train.patience=2", "train.ema=0.9", "train.precision=fp16"),
    )
    assert trained["options"] == FitOptions(
        epochs=9, device=CPU, precision="fp16", rng_key=(7, 0), accumulate=3, clip=0.7, clip_mode="value"
    )
    assert trained["lr_at"] == ScheduleOptions(
        name="plateau", lr=0.02, min_lr=1e-5, epochs=9, warmup_epochs=1.5, gamma=0.3, step_epochs=4, patience=6
    )
    assert trained["mix"] == Mix(mixup=0.3, cutmix=0.7, off_epoch=2, classes=8)
    kind, groups = trained["optimizer"]
    assert kind is torch.optim.SGD and {group["momentum"] for group in groups} == {0.5}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.3} and len({g["lr_scale"] for g in groups}) > 2
    assert trained["scaler"] and trained["ema"] == (0.9, True)
    dataset, folds = scan("input/tiny"), pd.read_csv("folds/tiny.csv").set_index("image")["fold"]
    own = [dataset.classes.index(image.label) for image in dataset.train if folds[image.id] != 0]
    weights = balanced_weights(torch.tensor(own), 8)  # of the images that are trained on
    assert trained["loss"] == focal(LOGITS, TARGETS, 1.5, 0.1, weights).tolist()
    assert sorted(trained["train"][0]) == [row for row, image in enumerate(dataset.train) if folds[image.id] != 0]
