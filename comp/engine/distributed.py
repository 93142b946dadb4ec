"""One training in several processes, as torchrun starts them: which of them this is, and what they tell each other.

Without torchrun there is one process, and every word here gives back what it was given.

Gradients are summed here and not by torch's DistributedDataParallel, which takes the mean over processes where the
loop wants the sum over images (a last batch parts unevenly), renames every weight by wrapping the model, and sends
running statistics and losses in messages of their own. Here one message an update carries all three. What is given up
is sending while the backward pass still computes: little, for models of this size on one machine.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from timm.layers import convert_sync_batchnorm
from torch import distributed, nn

from comp.errors import UserError

T = TypeVar("T")
GROUP_TIMEOUT = timedelta(minutes=30)  # a process that waits longer than this for another gives up


class DistributedError(UserError):
    """Another process of this training has gone."""


def rank() -> int:
    """The number of this process; the first, 0, is the one that writes and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together, on all machines."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if world_size() > 1 else 0


def local_world_size() -> int:
    """How many processes train together on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if world_size() > 1 else 1


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Inside, the processes that torchrun started know each other. Only the first prints; of what ends them all, one
    that meets it tells, and the others go without a word."""
    if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    store, number, count = next(distributed.rendezvous("env://", timeout=GROUP_TIMEOUT))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=number,
        world_size=count,
        timeout=GROUP_TIMEOUT,
    )
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if number else sys.stdout):
        try:
            yield
        except (KeyboardInterrupt, UserError, OSError):
            with contextlib.suppress(RuntimeError):  # the store may be gone with the machine that kept it
                if store.add("said", 1) > 1:
                    raise SystemExit(2) from None
            raise
    distributed.destroy_process_group()


def call_on_rank_zero(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, in all of them; it is called nowhere else, and the others wait."""
    if world_size() == 1:
        return make()
    said = [make() if rank() == 0 else None]
    with _communication_errors():
        distributed.broadcast_object_list(said)
    return said[0]


def gather(mine: T) -> list[T]:
    """What each process has, in the first of them; elsewhere nothing."""
    if world_size() == 1:
        return [mine]
    everybodys = [None] * world_size() if rank() == 0 else None
    with _communication_errors():
        distributed.gather_object(mine, everybodys)
    return everybodys or []


def all_reduce(model: nn.Module, losses: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Make one update of everybody's part, in place: gradients and losses become sums, BatchNorm's running statistics
    means. Gives the losses."""
    if world_size() == 1:
        return losses
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    statistics = [
        value
        for module in model.modules()
        if module.training
        for name, value in module.named_buffers(recurse=False)
        if name in ("running_mean", "running_var")
    ]
    for value in statistics:
        value.div_(world_size())
    parts = [*gradients, *statistics, *losses]
    message = torch.cat([part.flatten() for part in parts])
    with _communication_errors():
        distributed.all_reduce(message)
    for part, total in zip(parts, message.split([part.numel() for part in parts]), strict=True):
        part.copy_(total.view(part.shape))
    return losses


def use_sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """With BatchNorm taken over all processes' images. torch can do that on CUDA alone; elsewhere each process
    normalises by the statistics of its own part."""
    return convert_sync_batchnorm(model) if world_size() > 1 and device.type == "cuda" else model


@contextlib.contextmanager
def _communication_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as problem:
        raise DistributedError(
            "another process of this training has gone, or could not be reached; what it said of that "
            "stands above, or on its machine"
        ) from problem
