"""The work of training: end to end, and its two components, the loader and the step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

from comp.batches.loader import Batch
from comp.bench.meter import WorkIterator
from comp.engine.fit import Epoch
from comp.errors import UserError
from comp.training.components import TrainingComponents, build_components, fit_fold, make_train_state
from comp.training.setup import Setup


def open_components(setup: Setup, fold: int) -> TrainingComponents:
    """Return the components of a training with random weights, because the speed does not depend on them."""
    return build_components(setup, fold, use_initial_weights=False)


def loader_work(setup: Setup, fold: int) -> WorkIterator:
    """Make batches and throw them away."""
    components = open_components(setup, fold)
    for _, targets in components.batches(range(setup.config.train.epochs * components.train_set.steps_per_epoch)):
        yield 1, len(targets)


def training_work(setup: Setup, fold: int, repeat_first_batch: bool = False) -> WorkIterator:
    """Train with `fit()` and yield at each of its events; with `repeat_first_batch`, always on the same batch.

    The repeated batch is already on the device, so that the step is measured without the loader.
    """
    components = open_components(setup, fold)
    state = make_train_state(setup, components.model)
    images = 0

    def batches(steps: range) -> Iterator[Batch]:
        nonlocal images
        for batch in repeat(_first_batch(components), len(steps)) if repeat_first_batch else components.batches(steps):
            images += len(batch[1])
            yield batch

    steps_before = images_before = 0
    try:
        for event in fit_fold(setup, fold, replace(components, batches=batches), state):
            if isinstance(event, Epoch):
                state.history.append({"val_loss": event.train_loss})  # validation is not timed
            yield event.step - steps_before, images - images_before
            steps_before, images_before = event.step, images
    except FloatingPointError as error:
        raise UserError(f"{error}; lower optim.lr, set optim.clip=1, or train.precision=fp32") from None


def _first_batch(components: TrainingComponents) -> Batch:
    images, targets = next(iter(components.batches(range(1))))
    return images.to(components.device), targets.to(components.device)
