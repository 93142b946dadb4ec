"""One training in several processes, as torchrun starts them: ranks, messages, and torch's DistributedDataParallel.

Without torchrun there is one process, and every function here returns what it is given.

torch's DistributedDataParallel sums the gradients while the backward pass still computes. Where a GPU has few images of
a batch, SyncBatchNorm normalises over all processes' images. This module adds one small all-reduce per optimiser step:
of the losses, and where each process normalises its own shard, of BatchNorm's running statistics.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

if "TORCHELASTIC_RUN_ID" in os.environ:  # read when torch is imported; hides the warning that `wrap_model` explains
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch
from timm.layers import convert_sync_batchnorm
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from comp.errors import UserError

T = TypeVar("T")
MIN_BATCHNORM_IMAGES = 16  # of a process; with fewer the statistics of its own images are too noisy
GROUP_TIMEOUT = timedelta(minutes=30)  # a process that waits longer than this for another gives up


class DistributedError(UserError):
    """Another process of this training has ended or cannot be reached."""


def rank() -> int:
    """Return the number of this process among all; rank 0 is the one that writes and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together, on all machines."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_rank() -> int:
    """Return the number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if world_size() > 1 else 0


def local_world_size() -> int:
    """Return how many processes train together on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if world_size() > 1 else 1


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes of torchrun; do nothing without torchrun.

    Only rank 0 prints. An error that ends all processes is printed by the first one that raises it.
    """
    if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    # A 1x1 convolution's gradient may name the strides of its dimensions of size 1 differently: the same memory.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    store, group_rank, group_size = next(distributed.rendezvous("env://", timeout=GROUP_TIMEOUT))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=group_rank,
        world_size=group_size,
        timeout=GROUP_TIMEOUT,
    )
    with open(os.devnull, "w") as devnull, contextlib.redirect_stdout(devnull if group_rank else sys.stdout):
        try:
            yield
        except (KeyboardInterrupt, UserError, OSError):
            with contextlib.suppress(RuntimeError):  # the store may be gone with the machine that kept it
                if store.add("errors", 1) > 1:
                    raise SystemExit(2) from None
            raise
    distributed.destroy_process_group()


def call_on_rank_zero(function: Callable[[], T]) -> T:
    """Call `function` in rank 0 alone, and return its result in every process; the others wait."""
    if world_size() == 1:
        return function()
    results: list[Any] = [function() if rank() == 0 else None]
    with communication_errors():
        distributed.broadcast_object_list(results)
    return results[0]


def gather(value: T) -> list[T]:
    """Return the values of all processes, by rank, in rank 0, and an empty list elsewhere."""
    if world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * world_size() if rank() == 0 else None
    with communication_errors():
        distributed.gather_object(value, values)
    return values or []


def choose_sync_batchnorm(batch: int, device: torch.device) -> bool | None:
    """Return whether BatchNorm needs the images of all processes, or None without several GPUs.

    It does where a process has few of a batch's images. SyncBatchNorm waits for the other processes in every layer,
    forward and backward.
    """
    if world_size() == 1 or device.type != "cuda":
        return None
    return batch / world_size() < MIN_BATCHNORM_IMAGES


def use_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` with SyncBatchNorm on CUDA; torch has none elsewhere, so each process normalises its own shard."""
    return convert_sync_batchnorm(model) if world_size() > 1 and device.type == "cuda" else model


def wrap_model(model: nn.Module) -> nn.Module:
    """Return a network whose backward pass averages the gradients of `model` over all processes.

    Rank 0's weights are sent to the others first. Save, average and evaluate `model`, not the returned network: its
    weights keep their names, so a checkpoint can be read with any number of processes.
    """
    if world_size() == 1:
        return model
    with communication_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 has a new name for broadcast_buffers, 2.11 has not
        return DistributedDataParallel(
            model,
            broadcast_buffers=False,  # statistics are averaged, see `reduce_losses_and_statistics`
            # A model may have unused weights. If it has none, torch warns that this search is unnecessary, but the
            # search also keeps the gradients in one order. Without it the second step reorders them, and with three
            # or more processes a resumed training would add them in another order than an uninterrupted one.
            find_unused_parameters=True,
        )


@contextlib.contextmanager
def gradient_sync(network: nn.Module, enabled: bool) -> Iterator[None]:
    """Return the context of a forward and backward pass of `wrap_model`'s network.

    Unless `enabled`, gradients accumulate in this process and are synchronised by the next enabled pass.
    """
    with communication_errors():
        if enabled or not isinstance(network, DistributedDataParallel):
            yield
        else:
            with network.no_sync():
                yield


def reduce_losses_and_statistics(losses: Sequence[torch.Tensor], model: nn.Module) -> Sequence[torch.Tensor]:
    """Return `losses` summed over all processes; BatchNorm's running statistics become their mean, in place.

    SyncBatchNorm's are the same in every process already.
    """
    if world_size() == 1:
        return losses
    statistics = [
        value
        for module in model.modules()
        if module.training and not isinstance(module, nn.SyncBatchNorm)
        for name, value in module.named_buffers(recurse=False)
        if name in ("running_mean", "running_var")
    ]
    message = torch.cat([value.flatten() for value in (*losses, *statistics)])
    with communication_errors():
        distributed.all_reduce(message)
    sums = message.split([value.numel() for value in (*losses, *statistics)])
    for value, total in zip(statistics, sums[len(losses) :], strict=True):
        value.copy_(total.view(value.shape) / world_size())
    return [total.view(loss.shape) for loss, total in zip(losses, sums, strict=False)]


@contextlib.contextmanager
def communication_errors() -> Iterator[None]:
    """Turn the error that a lost process causes in the others into a DistributedError."""
    try:
        yield
    except RuntimeError as error:  # gloo has no type of its own, but names its source file
        if world_size() == 1 or not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise DistributedError(
            "another process of this training has ended or cannot be reached; see its error above, or on its machine"
        ) from error
