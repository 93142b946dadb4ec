"""Training as it is, and what it is made of: its loader, and its step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

from comp.bench.meter import WorkIterator
from comp.engine.fit import Batch, Epoch
from comp.errors import UserError
from comp.training.components import TrainingComponents, build_components, fit_fold, make_train_state
from comp.training.setup import Setup


def open_components(setup: Setup, fold: int) -> TrainingComponents:
    """Weights as they are drawn: how fast they learn does not depend on where they come from."""
    return build_components(setup, fold, fresh=False)


def loader_work(setup: Setup, fold: int) -> WorkIterator:
    """Batches made, and thrown away."""
    parts = open_components(setup, fold)
    for _, labels in parts.batches(range(setup.config.train.epochs * parts.source.steps_per_epoch)):
        yield 1, len(labels)


def training_work(setup: Setup, fold: int, fixed: bool = False) -> WorkIterator:
    """`fit()` itself, yielding when it does; `fixed`: on one batch over and over, which then lies on the device."""
    parts = open_components(setup, fold)
    state = make_train_state(setup, parts.model)
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


def _first_batch(parts: TrainingComponents) -> Batch:
    images, labels = next(iter(parts.batches(range(1))))
    return images.to(parts.device), labels.to(parts.device)
