"""`train.fit_memory`: the largest batch whose training step fits into the memory of the GPU, found by trial."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from comp.batches.device_batches import fits_device
from comp.engine import distributed
from comp.engine.device import is_out_of_memory
from comp.engine.precision import autocast
from comp.errors import UserError
from comp.schema import Config
from comp.training.optimizer import make_train_optimizer

MIN_BATCH = 2  # BatchNorm cannot normalise a batch of one
MEMORY_SHARE = 0.9  # of the free memory; the rest is for what another epoch or cuDNN's choices take more


def fit_batch(
    config: Config, model: nn.Module, device: torch.device, precision: str, square_bytes: int, processes: int
) -> int:
    """Return `train.batch`, halved until a step on the device fits beside those of the other `processes` on it."""
    if device.type != "cuda":
        return config.train.batch
    index = torch.cuda.current_device() if device.index is None else device.index
    free, total = torch.cuda.mem_get_info(index)
    pool = square_bytes if fits_device(square_bytes, device, processes) else 0

    def take_step(batch: int) -> None:
        torch.cuda.empty_cache()  # what a larger batch has left
        own_batch = -(-batch // distributed.world_size())
        _train_one_step(config, model, device, precision, own_batch, pool)

    torch.cuda.set_per_process_memory_fraction(MEMORY_SHARE * free / total / processes, index)
    try:
        return halve_until_fits(config.train.batch, take_step)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
        torch.cuda.empty_cache()


def halve_until_fits(batch: int, take_step: Callable[[int], None]) -> int:
    """Return `batch`, halved until `take_step` does not run out of memory."""
    while batch >= MIN_BATCH:
        try:
            take_step(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return batch
        batch //= 2
    raise UserError(
        f"train.fit_memory: no batch of {MIN_BATCH} images fits into the free memory of the GPU; use a smaller "
        f"model or data.size, or fewer --jobs"
    )


def _train_one_step(
    config: Config, model: nn.Module, device: torch.device, precision: str, batch: int, pool_bytes: int
) -> None:
    """Take a training step with a copy of the model, on blank images, beside all that a training keeps."""
    pool = torch.empty(pool_bytes, dtype=torch.uint8, device=device)
    trial = copy.deepcopy(model).to(device).train()
    average = copy.deepcopy(trial) if config.train.ema else None
    optimizer = make_train_optimizer(trial, config)
    size = config.data.size
    images = torch.zeros(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    with autocast(device, precision):
        loss = trial(images).float().square().mean()
    loss.backward()
    optimizer.step()
    del pool, average
