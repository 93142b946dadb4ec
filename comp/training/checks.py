"""Check a config before anything is written: names, combinations, the split, and whether the model takes its input."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from comp.batches.oversample import check_oversample
from comp.batches.policies import check_policy
from comp.engine.optim import check_optimizer
from comp.errors import UserError, shorten_list
from comp.metrics import METRICS, find_metric
from comp.observers.tensorboard import check_tensorboard
from comp.records.base import Fold
from comp.records.dataset import SplitRecord
from comp.runs import RESERVED_DIRS, RUNS
from comp.schema import Config, Teacher
from comp.tasks import Task
from comp.zoo.classifier import classifier_layers


def check_names(config: Config) -> None:
    """Check every name in a config, and the combinations of keys that cannot work."""
    if config.name.partition("/")[0] in set(RESERVED_DIRS) - {"debug"}:
        raise UserError(f"{RUNS / config.name} is in a reserved directory; choose another --name")
    check_policy(config.augment.policy)
    check_oversample(config.augment.oversample)
    check_optimizer(config.optim.name)
    if config.augment.oversample != "none" and config.train.balanced:
        raise UserError("augment.oversample and train.balanced both repeat images of small classes; set one of them")
    _check_init(config)
    _check_teacher(config)
    find_metric(config.train.metric)  # a UserError, if there is none
    if config.log.tensorboard:
        check_tensorboard()


def _check_init(config: Config) -> None:
    """Check that the initial weights have one source, and that only pretrained ones are frozen."""
    model, train = config.model, config.train
    sources = [
        key
        for key, value in (
            ("model.pretrained", model.pretrained),
            ("model.weights", model.weights),
            ("train.init", train.init),
        )
        if value
    ]
    if len(sources) > 1:
        raise UserError(f"{' and '.join(sources)} each replace the initial weights; set one of them")
    if model.pretrained and model.init != "own":
        raise UserError(f"model.init={model.init} would overwrite the pretrained weights; set model.init=own")
    if train.freeze_epochs and not sources:
        raise UserError(
            "train.freeze_epochs would freeze random weights; set it to 0, or set model.weights=FILE, "
            "model.pretrained=true or train.init=RUN"
        )


def _check_teacher(config: Config) -> None:
    """Check that keys of the teachers have teachers, and that no sampling needs the class of every image."""
    teacher = config.teacher
    if not teacher.runs and teacher != Teacher():
        raise UserError("teacher: no run is named; set teacher.runs=[NAME], or remove the other keys")
    if teacher.min_confidence and not teacher.test_images:
        raise UserError("teacher.min_confidence chooses test images; set teacher.test_images=true, or remove it")
    for key, is_set in (
        ("train.balanced", config.train.balanced),
        ("augment.oversample", config.augment.oversample != "none"),
    ):
        if teacher.runs and is_set:
            raise UserError(f"{key} needs a class of each image, and teacher.runs makes soft targets; remove one")


def check_split(config: Config) -> None:
    """Check that the folds file was made with `folds.k` and `folds.seed`, which are part of a run's name."""
    record = SplitRecord.read(config.folds_file.with_suffix(".json"))
    for key, stored, requested in (("k", record.k, config.folds.k), ("seed", record.seed, config.folds.seed)):
        if stored is not None and stored != requested:  # an official split has neither
            raise UserError(
                f"{config.folds_file} has {key}={stored}, and the config has folds.{key}={requested}; "
                f"set folds.{key}={stored}, or another folds.file"
            )


def check_training_images(split: pd.DataFrame, folds: Sequence[Fold], task: Task) -> None:
    """Check that images remain to train on in each fold; print a warning for a class of which none remains."""
    for fold in folds:
        trained = split.loc[split["fold"] != fold, "label"]
        if trained.empty:
            raise UserError(f"fold {fold} holds every image, so none remains to train on; make another split")
        absent = sorted(set(split["label"]) - set(trained)) if task.has_confusion else []
        if absent:
            names = shorten_list(absent, 5)
            print(
                f"warning: all images of class {names} are in fold {fold}, whose model cannot learn it", file=sys.stderr
            )


def check_task(config: Config, task: Task) -> None:
    """Check that metric, loss and sampling fit the kind of target."""
    metric, loss = config.train.metric, config.loss
    if task.form not in find_metric(metric).computations:
        fitting = [name for name, candidate in METRICS.items() if task.form in candidate.computations]
        raise UserError(f"train.metric={metric} does not fit data.task={task.kind}; use one of {', '.join(fitting)}")
    if metric == "probabilistic_f1" and len(task.columns) != 2:
        raise UserError("train.metric=probabilistic_f1 needs data.task=binary; use macro_f1")
    if loss.name not in task.loss_names:
        raise UserError(
            f"loss.name={loss.name} does not fit data.task={task.kind}; use one of {', '.join(task.loss_names)}"
        )
    for key, is_set in (
        ("loss.class_weights", loss.class_weights != "none"),
        ("train.balanced", config.train.balanced),
        ("augment.oversample", config.augment.oversample != "none"),
    ):
        if is_set and not task.has_class_targets:
            raise UserError(f"{key} is for classes, and data.task={task.kind} has none; remove it")
    if config.teacher.temperature != 1 and task.form == "numbers":
        raise UserError("teacher.temperature is for probabilities, not for numbers; set it to 1")
    if config.teacher.min_confidence and task.form != "classes":
        raise UserError(f"teacher.min_confidence is for classes, and data.task={task.kind} has none; set it to 0")
    if loss.label_smoothing and task.form == "numbers":
        raise UserError("loss.label_smoothing is for classes and tags, not for numbers; set it to 0")


def check_stages(config: Config, model: nn.Module) -> None:
    """Check that the model has what its stages need: a decoder, a classifier beside a frozen backbone, layers."""
    if config.train.freeze_epochs and not any(list(layer.parameters()) for layer in classifier_layers(model)):
        raise UserError(f"train.freeze_epochs: {config.model.name} names no classifier; set it to 0")
    if config.optim.layer_decay and not hasattr(model, "group_matcher"):
        raise UserError(f"optim.layer_decay: {config.model.name} does not name its layers; set it to null")
    if config.train.pretrain_epochs and not hasattr(model, "autoencoder"):
        raise UserError(
            f"train.pretrain_epochs: {config.model.name} has no decoder to reconstruct its images with; "
            f"set it to 0, or model.name=gupta_autoclassifier"
        )


def check_model_input(model: nn.Module, config: Config, classes: int) -> None:
    """Run the model on two blank images, so that a wrong size or argument is found before anything is written."""
    size, model_name = config.data.size, config.model.name
    try:
        with torch.no_grad():
            shape = tuple(model.train()(torch.zeros(min(2, config.train.batch), 3, size, size)).shape)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise UserError(
            f"model {model_name} does not take batches of {config.train.batch} at {size} px: "
            f"{str(error)[:200]}; change data.size, train.batch or model.kwargs"
        ) from None
    if shape[1:] != (classes,):
        raise UserError(
            f"model {model_name} returns shape {shape[1:]} per image, not a logit for each of {classes} classes; "
            f"choose another model.name or model.kwargs"
        )
