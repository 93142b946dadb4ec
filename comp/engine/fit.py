"""The training loop, a generator: it only trains, and its caller scores, saves, shows progress and stops.

    for event in fit(state, data, options, loss=..., lr_at=...):        # Step, Step, ..., Epoch, Step, ...
        ...

Every yield is a valid snapshot: save `state.state_dict()`, load it in another process, call `fit` with the same
arguments, and the weights at the end are the same. No generator's state is saved, because none is used: every step
seeds its own random numbers from (seed, fold, step).

Under torchrun every process runs this loop on its shard of each batch. All of them hold the same weights, losses and
image counts at every yield, though they do not yield a `Step` at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn

from comp.batches.loader import Batch, ShardInfo
from comp.checkpoints import load_state_dict
from comp.engine import distributed
from comp.engine.cuda_graph import StepGraph, portable_state
from comp.engine.freeze import BackboneFreezer
from comp.engine.mixup import Mix
from comp.engine.optim import LearningRateFn, check_hyperparameters, clip_gradients, set_lr
from comp.engine.precision import autocast
from comp.tasks.losses import LossFunction

Prepare = Callable[[torch.Tensor], torch.Tensor]  # images of a batch -> the model's input, on its device


@dataclass(frozen=True)
class TrainData:
    """The batches to train on, and what turns their images into the model's input."""

    batches: Callable[[range], Iterator[Batch]]  # the batches of these steps, in order
    prepare: Prepare
    steps_per_epoch: int
    shard_info: Callable[[int], ShardInfo] | None = None  # step -> this rank's share of it; None in a single process


@dataclass(frozen=True)
class FitOptions:
    """The settings of the loop, constant over a training."""

    epochs: int
    device: torch.device
    precision: str  # fp32, bf16 or fp16
    rng_key: tuple[int, int]  # (seed, fold): two trainings with different keys share no random number
    accumulate: int = 1  # batches to an optimiser step
    clip: float | None = None  # gradients, see `clip_gradients`
    clip_mode: str = "norm"
    freeze_epochs: int = 0  # first epochs, in which the backbone is frozen
    yield_interval: float = 0.5  # seconds between two `Step` events
    cuda_graph: bool = False  # replay steps of one batch each as a CUDA graph, see `use_cuda_graph`


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
    """The end of an epoch. The caller validates and appends to `state.history` before it takes the next event."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    seconds: float
    images: int


@dataclass
class TrainState:
    """Everything that changes during a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: ModelEmaV3 | None = None
    step: int = 0  # batches
    updates: int = 0  # updates of the moving average: one for every `accumulate` batches
    history: list[dict[str, Any]] = field(default_factory=list)  # a row per finished epoch, with its `val_loss`
    loss_sum: torch.Tensor | float = 0.0  # sum over the epoch so far; a tensor, so that a GPU need not wait
    images: int = 0
    seconds: float = 0.0

    @property
    def eval_model(self) -> nn.Module:
        """The model that is scored and kept: the moving average of the weights if there is one."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint: tensors and plain Python, the same for any number of processes."""
        return {
            "model": self.model.state_dict(),
            "optimizer": portable_state(self.optimizer),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "step": self.step,
            "updates": self.updates,
            "history": self.history,
            "loss_sum": float(self.loss_sum),
            "images": self.images,
            "seconds": self.seconds,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, in this process or another.

        A state of another model or optimizer is a ValueError, and leaves this one unusable.
        """
        try:
            load_state_dict(self.model, saved["model"])
            check_hyperparameters(self.optimizer.state_dict()["param_groups"], saved["optimizer"]["param_groups"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])
            if self.ema:
                load_state_dict(self.ema.module, saved["ema"])
        except (LookupError, RuntimeError, TypeError, AttributeError) as error:  # as torch reports it
            raise ValueError(f"the state does not fit: {error}") from error
        self.step, self.updates, self.history = saved["step"], saved["updates"], saved["history"]
        self.loss_sum, self.images, self.seconds = saved["loss_sum"], saved["images"], saved["seconds"]


def fit(
    state: TrainState,
    data: TrainData,
    options: FitOptions,
    *,
    loss: LossFunction,
    lr_at: LearningRateFn,
    mix: Mix | None = None,
) -> Iterator[Step | Epoch]:
    """Train `state` from its current step to the end of the last epoch; yield `Step` and `Epoch` events."""
    backbone = BackboneFreezer(state.model, options.freeze_epochs)
    steps_per_epoch, total_steps = data.steps_per_epoch, options.epochs * data.steps_per_epoch
    backbone.start_epoch(state.step // steps_per_epoch)
    network = distributed.wrap_model(state.model)
    graph = None
    if options.cuda_graph:
        graph = StepGraph(partial(_whole_step, state, network, options, loss), state.optimizer)
    batches = data.batches(range(state.step, total_steps))
    if len(state.history) < state.step // steps_per_epoch:
        yield _finished_epoch(state, steps_per_epoch)  # stopped after the last batch, before it was validated
    while state.step < total_steps:
        epoch, index = divmod(state.step, steps_per_epoch)
        epoch_end = (epoch + 1) * steps_per_epoch
        if index == 0:
            state.loss_sum, state.images, state.seconds = 0.0, 0, 0.0
        if backbone.start_epoch(epoch):
            network = distributed.wrap_model(state.model)  # it averages the gradients of what was trainable then
        start = last_yield = time.perf_counter()
        backbone.train()
        while state.step < epoch_end:
            # A group ends with the epoch. A smaller last group takes its own mean over images.
            group = list(islice(batches, min(options.accumulate, epoch_end - state.step)))
            set_lr(state.optimizer, lr_at(state.step / steps_per_epoch, [row["val_loss"] for row in state.history]))
            _optimizer_step(
                state, network, group, data, options, loss, mix if mix and mix.active(epoch) else None, graph
            )
            now = time.perf_counter()
            if now - last_yield > options.yield_interval and state.step < epoch_end:
                state.seconds += now - start
                yield Step(epoch, state.step, total_steps, _lr(state), float(state.loss_sum) / state.images)
                start = last_yield = time.perf_counter()
                backbone.train()
        mean_loss = float(state.loss_sum) / state.images  # waits for the device, so before the clock is read
        if not np.isfinite(mean_loss):
            raise FloatingPointError(f"the training loss is {mean_loss} in epoch {epoch + 1}")
        state.seconds += time.perf_counter() - start
        yield _finished_epoch(state, steps_per_epoch)


def _optimizer_step(
    state: TrainState,
    network: nn.Module,
    group: list[Batch],
    data: TrainData,
    options: FitOptions,
    loss: LossFunction,
    mix: Mix | None,
    graph: StepGraph | None,
) -> None:
    """Take one optimiser step on the mean loss over all images of the group, in all processes."""
    shards = [
        data.shard_info(state.step + index) if data.shard_info else ShardInfo(True, len(labels))
        for index, (_, labels) in enumerate(group)
    ]
    # The update is the sum of all images' gradients divided by their number in all processes. DistributedDataParallel
    # takes the mean over processes, so each loss is divided by the number of images per process.
    divisor = sum(shard.global_batch_size for shard in shards) / distributed.world_size()
    loss_sums = []
    for index, (batch, shard) in enumerate(zip(group, shards, strict=True)):
        images, targets = prepare_batch(batch, state.step, data.prepare, options.device, options.rng_key, mix)
        if graph:
            loss_sums.append(graph(images, targets))
        else:
            with distributed.gradient_sync(network, enabled=index == len(group) - 1):
                loss_sums.append(_backward(state, network, images, targets, options, loss, divisor, shard.has_images))
        state.images += shard.global_batch_size
        state.step += 1
    for loss_sum in distributed.reduce_losses_and_statistics(loss_sums, state.model):
        state.loss_sum = state.loss_sum + loss_sum
    if not graph:
        _update_weights(state, options)
    if state.ema:
        state.updates += 1
        state.ema.update(state.model, step=state.updates)


def _backward(
    state: TrainState,
    network: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    options: FitOptions,
    loss: LossFunction,
    divisor: float,
    has_images: bool,
) -> torch.Tensor:
    """Add a batch's gradients to those of its group, and return the sum of its losses."""
    with autocast(options.device, options.precision):
        logits = network(images)
    loss_sum = loss(logits.float(), targets).sum() * has_images
    state.scaler.scale(loss_sum / divisor).backward()
    return loss_sum.detach()


def _update_weights(state: TrainState, options: FitOptions) -> None:
    """Take the optimiser's step on the gradients, and remove them."""
    if options.clip is not None:
        state.scaler.unscale_(state.optimizer)
        clip_gradients(state.model, options.clip, options.clip_mode)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)


def _whole_step(
    state: TrainState,
    network: nn.Module,
    options: FitOptions,
    loss: LossFunction,
    images: torch.Tensor,
    targets: torch.Tensor,
) -> torch.Tensor:
    """Train on a batch in one process, without reading from the device, and return the sum of its losses."""
    loss_sum = _backward(state, network, images, targets, options, loss, len(images), True)
    _update_weights(state, options)
    return loss_sum


def prepare_batch(
    batch: Batch, step: int, prepare: Prepare, device: torch.device, rng_key: tuple[int, int], mix: Mix | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the model's input and the targets of a step, and seed torch for the model's dropout and drop path."""
    seed = int(np.random.SeedSequence([*rng_key, step]).generate_state(1, np.uint64)[0] >> 1)  # 63 bits, not negative
    torch.manual_seed(seed + distributed.rank())  # every rank draws its own masks
    images, targets = prepare(batch[0]), batch[1].to(device, non_blocking=device.type == "cuda")
    return mix(images, targets, seed) if mix else (images, targets)


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
    """Return the largest learning rate: with layer-wise decay that of the last layers, else that of all."""
    return float(max(group["lr"] for group in state.optimizer.param_groups))
