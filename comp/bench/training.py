"""Training as it is, and what it is made of: its loader, and its step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

from comp.bench.meter import Work
from comp.engine.fit import Batch, Epoch
from comp.errors import UserError
from comp.experiment.parts import Parts, fit_fold, new_state, parts_of
from comp.experiment.setup import Setup


def open_parts(setup: Setup, fold: int) -> Parts:
    """Weights as they are drawn: how fast they learn does not depend on where they come from."""
    return parts_of(setup, fold, fresh=False)


def loading(setup: Setup, fold: int) -> Work:
    """Batches made, and thrown away."""
    parts = open_parts(setup, fold)
    for _, labels in parts.batches(range(setup.config.train.epochs * parts.source.steps_per_epoch)):
        yield 1, len(labels)


def training(setup: Setup, fold: int, fixed: bool = False) -> Work:
    """`fit()` itself, yielding when it does; `fixed`: on one batch over and over, which then lies on the device."""
    parts = open_parts(setup, fold)
    state = new_state(setup, parts.model)
    images = 0

    def batches(steps: range) -> Iterator:
        nonlocal images
        for batch in repeat(_first_batch(parts), len(steps)) if fixed else parts.batches(steps):
            images += len(batch[1])
            yield batch

    steps_before = images_before = 0
    try:
        for event in fit_fold(setup, fold, replace(parts, batches=batches), state):
            if isinstance(event, Epoch):
                state.history.append({"val_loss": event.train_loss})  # validation is no part of training's speed
            yield event.step - steps_before, images - images_before
            steps_before, images_before = event.step, images
    except FloatingPointError as problem:
        raise UserError(f"{problem}; lower optim.lr, set optim.clip=1, or train.precision=fp32") from None


def _first_batch(parts: Parts) -> Batch:
    images, labels = next(iter(parts.batches(range(1))))
    return images.to(parts.device), labels.to(parts.device)
