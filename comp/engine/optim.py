"""timm's optimisers and gradient clipping, and the learning rate as a pure function of the progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, list_optimizers
from timm.utils import dispatch_clip_grad
from torch import nn

from comp.errors import UserError, did_you_mean
from comp.zoo.classifier import backbone_parameters

LearningRateFn = Callable[[float, Sequence[float]], float]  # (epochs done so far, validation losses so far) -> lr


def check_optimizer(name: str) -> None:
    """Raise a UserError that names the nearest optimiser if timm has none called `name`."""
    names = [str(optimizer) for optimizer in list_optimizers()]
    if name.lower() not in names:
        raise UserError(f"optim.name: timm has no optimiser {name}{did_you_mean(name.lower(), names)}")


def make_optimizer(
    model: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    decay_all: bool = False,
    layer_decay: float | None = None,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Return timm's optimiser `name`. Biases and norms have no weight decay unless `decay_all`.

    With `layer_decay` the learning rate is multiplied by it once per layer, from the last layer to the first. A fused
    SGD (torch 2.15) fails where some weights of a group have momentum and others none, as after a frozen start.
    """
    check_optimizer(name)
    try:
        # all weights in one call if torch can: AdamW on the main model takes 1.3 ms instead of 5.4 on 2 cores
        parameters = signature(get_optimizer_class(name, bind_defaults=False)).parameters
        implementation: dict[str, Any] = {"fused": True} if fused and "fused" in parameters else {}
        return create_optimizer_v2(
            model,
            opt=name,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            filter_bias_and_bn=not decay_all,
            layer_decay=layer_decay,
            **implementation,
        )
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"optim.name={name}: {error}") from None


def check_hyperparameters(groups: list[dict[str, Any]], saved: list[dict[str, Any]]) -> None:
    """Raise a ValueError if a saved value has another type than the optimizer's own: torch would compute with it."""
    for group, saved_group in zip(groups, saved, strict=True):
        for key in group.keys() & saved_group.keys():
            own, value = group[key], saved_group[key]
            both_numbers = isinstance(own, int | float) and isinstance(value, int | float)
            if not both_numbers and type(own) is not type(value) and None not in (own, value):
                raise ValueError(f"the optimizer's {key} is {value!r}")


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, times the group's `lr_scale`, where timm keeps its layer-wise decay.

    A tensor is filled: a CUDA graph reads it at its address.
    """
    for group in optimizer.param_groups:
        value = lr * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def clip_gradients(model: nn.Module, value: float, mode: str) -> None:
    """Clip gradients with timm, by `norm`, `value` or `agc`.

    Adaptive gradient clipping (`agc`) excludes the classifier, as its authors recommend.
    """
    parameters = backbone_parameters(model).values() if mode == "agc" else model.parameters()
    dispatch_clip_grad(list(parameters), value, mode=mode)


@dataclass(frozen=True)
class ScheduleOptions:
    """The learning rate over a training; `gamma`, `step_epochs` and `patience` are used by some schedules only."""

    name: str  # constant, cosine, exponential, step or plateau
    lr: float  # learning rate after the warm-up
    min_lr: float  # lower bound of every schedule
    epochs: int
    warmup_epochs: float  # linear warm-up from 0; fractions are allowed
    gamma: float  # factor per drop; for `exponential`, per epoch
    step_epochs: int  # epochs between two drops of `step`
    patience: int  # epochs without a lower validation loss until `plateau` drops


def make_schedule(options: ScheduleOptions) -> LearningRateFn:
    """Return the learning rate as a function of the epochs done and of the validation losses so far."""
    name, lr, gamma, warmup_epochs = options.name, options.lr, options.gamma, options.warmup_epochs
    floor = min(options.min_lr, lr)

    def after_warmup(done: float, losses: Sequence[float]) -> float:
        if name == "cosine":
            progress = (done - warmup_epochs) / max(options.epochs - warmup_epochs, 1e-9)
            return options.min_lr + (lr - options.min_lr) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        if name == "exponential":
            return max(lr * gamma ** (done - warmup_epochs), floor)
        drops = {
            "constant": 0,
            "step": int(done // options.step_epochs),
            "plateau": count_plateau_drops(losses, options.patience),
        }
        return max(lr * gamma ** drops[name], floor)

    def lr_at(done: float, losses: Sequence[float]) -> float:
        return lr * done / warmup_epochs if done < warmup_epochs else after_warmup(done, losses)

    return lr_at


def count_plateau_drops(losses: Sequence[float], patience: int, threshold: float = 1e-4) -> int:
    """Return how often ReduceLROnPlateau would have dropped the learning rate for these validation losses."""
    best, waited, drops = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - threshold):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            drops, waited = drops + 1, 0
    return drops
