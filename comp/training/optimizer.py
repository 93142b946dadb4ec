"""The optimisers and the learning rate that a config names."""

from __future__ import annotations

import torch

from comp.engine.optim import LearningRateFn, ScheduleOptions, make_optimizer, make_schedule
from comp.schema import Config, Optim


def make_config_optimizer(
    model: torch.nn.Module, optim: Optim, layer_decay: float | None = None, fused: bool = True
) -> torch.optim.Optimizer:
    """Return the optimiser of a config's section `optim` for `model`."""
    return make_optimizer(
        model,
        optim.name,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        momentum=optim.momentum,
        decay_all=optim.decay_all,
        layer_decay=layer_decay,
        fused=fused,
    )


def make_train_optimizer(model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
    """Return the optimiser of a config's training."""
    return make_config_optimizer(model, config.optim, config.optim.layer_decay, fused=not config.train.freeze_epochs)


def make_config_schedule(config: Config) -> LearningRateFn:
    """Return the learning rate of a config's training."""
    schedule = config.schedule
    return make_schedule(
        ScheduleOptions(
            name=schedule.name,
            lr=config.optim.lr,
            min_lr=schedule.min_lr,
            epochs=config.train.epochs,
            warmup_epochs=schedule.warmup_epochs,
            gamma=schedule.gamma,
            step_epochs=schedule.step_epochs,
            patience=schedule.patience,
        )
    )
