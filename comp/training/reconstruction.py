"""Pretraining by reconstruction, for models that offer it (`model.autoencoder()` and `model.freeze()`)."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import nn

from comp.engine.fit import FitOptions, TrainState
from comp.records.base import Fold
from comp.runs import FoldDir
from comp.training.components import TrainingComponents
from comp.training.optimizer import make_config_optimizer
from comp.training.setup import Setup
from comp.training.stage import Stage, run_stage
from comp.zoo.init import initialise


class Reconstructing(Protocol):
    """A model whose encoder can be pretrained."""

    def autoencoder(self) -> nn.Module:
        """Return the encoder with a `decoder`: images -> the reconstruction error of each."""

    def freeze(self) -> None:
        """Stop training the encoder."""


def reconstruct(setup: Setup, fold: Fold, fold_dir: FoldDir, components: TrainingComponents) -> None:
    """Train the encoder to reconstruct its images, then freeze it.

    The loss is each image's reconstruction error, and the learning rate the run's own, held constant. The stage resumes
    from pretrain.pt as the training of the classes does from resume.pt.
    """
    config, optim = setup.config, setup.config.optim
    model = cast(Reconstructing, components.model)
    stage = Stage(
        title="reconstruction",
        checkpoint=fold_dir.pretrain_path,
        table=fold_dir.path / "pretrain.csv",
        log=fold_dir.path / "train.log",
        origin=setup.origin(fold),
        save_every=config.train.save_every,
    )
    options = FitOptions(
        epochs=config.train.pretrain_epochs,
        device=setup.device,
        precision=setup.precision,
        rng_key=setup.rng_key(fold),
        accumulate=setup.accumulate,
        clip=optim.clip,
        clip_mode=optim.clip_mode,
    )
    state, data = _make_state(setup, model.autoencoder()), components.train_data
    run_stage(stage, state, data, options, loss=lambda errors, _: errors, lr_at=lambda *_: optim.lr)
    model.freeze()


def _make_state(setup: Setup, autoencoder: nn.Module) -> TrainState:
    initialise(autoencoder.get_submodule("decoder"), setup.config.model.init)
    optimizer = make_config_optimizer(autoencoder, setup.config.optim)
    return TrainState(
        autoencoder, optimizer, torch.amp.GradScaler(setup.device.type, enabled=setup.precision == "fp16")
    )
