"""The training loop, a generator: the caller draws, scores, saves and stops; this only trains.

    for event in fit(state, ...):        # Step, Step, ..., Epoch, Step, ...
        ...

Every yield is a valid snapshot: save `state.state_dict()`, load it in another process, call `fit` with the same
arguments, and the weights at the end are the same. No generator's state is saved, for none is used: every step
seeds its own draws from (seed, fold, step).

Under torchrun every process runs this loop on its part of each batch, and `ranks` makes one update of the parts: all
hold the same weights, losses and counts at every yield, though they do not yield a `Step` at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from comp.engine import distributed
from comp.engine.losses import LossFunction
from comp.engine.mixup import Mix
from comp.engine.optim import LearningRateFn, clip_gradients, set_lr
from comp.engine.precision import autocast

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Step:
    """A point inside an epoch, about twice a second."""

    epoch: int  # counted from 0
    step: int  # batches since the start of the training
    steps: int  # batches of the whole training
    lr: float
    loss: float  # mean over the epoch so far


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch. The caller validates and appends to `state.history` before it asks for more."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    seconds: float
    images: int


@dataclass
class TrainState:
    """What a training is at any moment."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: ModelEmaV3 | None = None
    step: int = 0  # batches
    updates: int = 0  # of the moving average: one for every `accumulate` batches
    history: list[dict] = field(default_factory=list)  # one dict per finished epoch
    loss_sum: torch.Tensor | float = 0.0  # of the epoch so far; a tensor, so that a GPU need not wait
    images: int = 0
    seconds: float = 0.0

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are scored and kept: the moving average where there is one."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "step": self.step,
            "updates": self.updates,
            "history": self.history,
            "loss_sum": float(self.loss_sum),
            "images": self.images,
            "seconds": self.seconds,
        }

    def load_state_dict(self, saved: dict) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(saved["ema"])
        self.step, self.updates, self.history = saved["step"], saved["updates"], saved["history"]
        self.loss_sum, self.images, self.seconds = saved["loss_sum"], saved["images"], saved["seconds"]


def fit(
    state: TrainState,
    batches: Callable[[range], Iterator[Batch]],
    *,
    epochs: int,
    steps_per_epoch: int,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    loss: LossFunction,
    lr_at: LearningRateFn,
    device: torch.device,
    precision: str,
    stream: tuple[int, int],
    accumulate: int = 1,
    clip: float | None = None,
    clip_mode: str = "norm",
    mix: Mix | None = None,
    counts: Callable[[int], tuple[bool, int]] | None = None,
    pause: float = 0.5,
) -> Iterator[Step | Epoch]:
    """Train from `state.step` to the end. `batches(range)` gives the batches of those steps, in order; in several
    processes `counts(step)` says whether this one's part counts, and how many images the whole batch has."""
    source = batches(range(state.step, epochs * steps_per_epoch))
    if len(state.history) < state.step // steps_per_epoch:
        yield _finished_epoch(state, steps_per_epoch)  # stopped after the last batch, before it was validated
    while state.step < epochs * steps_per_epoch:
        epoch, index = divmod(state.step, steps_per_epoch)
        if index == 0:
            state.loss_sum, state.images, state.seconds = 0.0, 0, 0.0
        started = last_yield = time.perf_counter()
        state.model.train()
        while state.step < (epoch + 1) * steps_per_epoch:
            # an update never crosses an epoch's end: the last group is smaller, and weighs its images the same
            group = list(islice(source, min(accumulate, (epoch + 1) * steps_per_epoch - state.step)))
            set_lr(state.optimizer, lr_at(state.step / steps_per_epoch, [row["val_loss"] for row in state.history]))
            sizes = [
                counts(state.step + index) if counts else (True, len(labels)) for index, (_, labels) in enumerate(group)
            ]
            _optimizer_step(
                state,
                group,
                sizes,
                prepare,
                loss,
                device,
                precision,
                stream,
                clip,
                clip_mode,
                mix if mix and mix.active(epoch) else None,
            )
            now = time.perf_counter()
            if now - last_yield > pause and state.step < (epoch + 1) * steps_per_epoch:
                state.seconds += now - started
                yield Step(
                    epoch, state.step, epochs * steps_per_epoch, _lr(state), float(state.loss_sum) / state.images
                )
                started = last_yield = time.perf_counter()
                state.model.train()
        mean_loss = float(state.loss_sum) / state.images  # waits for the device, so before the clock is read
        if not np.isfinite(mean_loss):
            raise FloatingPointError(f"the training loss is {mean_loss} in epoch {epoch + 1}")
        state.seconds += time.perf_counter() - started
        yield _finished_epoch(state, steps_per_epoch)


def _optimizer_step(
    state: TrainState,
    group: list[Batch],
    sizes: list[tuple[bool, int]],
    prepare,
    loss: LossFunction,
    device: torch.device,
    precision: str,
    stream: tuple[int, int],
    clip: float | None,
    clip_mode: str,
    mix: Mix | None,
) -> None:
    """One optimiser step on the mean loss over all images of the group, in all processes."""
    total = sum(size for _, size in sizes)
    loss_sums = []
    for batch, (counted, size) in zip(group, sizes, strict=True):
        images, targets = prepare_batch(batch, state.step, prepare, device, stream, mix)
        with autocast(device, precision):
            logits = state.model(images)
        losses = loss(logits.float(), targets).sum() * counted
        state.scaler.scale(losses / total).backward()
        loss_sums.append(losses.detach())
        state.images += size
        state.step += 1
    for loss_sum in distributed.all_reduce(state.model, loss_sums):
        state.loss_sum = state.loss_sum + loss_sum
    if clip is not None:
        state.scaler.unscale_(state.optimizer)
        clip_gradients(state.model, clip, clip_mode)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema:
        state.updates += 1
        state.ema.update(state.model, step=state.updates)


def prepare_batch(
    batch: Batch,
    step: int,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
    stream: tuple[int, int],
    mix: Mix | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and targets that the model is given at that step; what it draws itself is seeded."""
    seed = int(np.random.SeedSequence([*stream, step]).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(seed + distributed.rank())  # dropout and stochastic depth
    images, labels = prepare(batch[0]), batch[1].to(device, non_blocking=True)
    return mix(images, labels, seed) if mix else (images, labels)


def _finished_epoch(state: TrainState, steps_per_epoch: int) -> Epoch:
    return Epoch(
        state.step // steps_per_epoch - 1,
        state.step,
        _lr(state),
        float(state.loss_sum) / state.images,
        state.seconds,
        state.images,
    )


def _lr(state: TrainState) -> float:
    """The rate of the layers that learn fastest: without layer-wise decay, of all."""
    return max(group["lr"] for group in state.optimizer.param_groups)
