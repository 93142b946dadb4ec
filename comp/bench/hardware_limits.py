"""What this machine can do at most, and what a training asks of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from comp.engine.precision import DTYPES, autocast


def gemm_gflops(device: torch.device, precision: str, side: int = 2048) -> float:
    """Multiplying two square matrices, in the number format of the training."""
    left, right = (torch.rand(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
    return 2 * side**3 / 1e9 / _seconds(lambda: left @ right, device)


def copy_gbs(device: torch.device, megabytes: int = 256) -> float:
    """Read and written together."""
    source = torch.zeros(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / 1e9 / _seconds(lambda: target.copy_(source), device)


@dataclass(frozen=True)
class StepCost:
    """Of one image of a training step."""

    gflop: float
    gigabytes: float  # moved, if every operation reads its inputs and writes its outputs once, and no cache helps


def count_step_cost(model: torch.nn.Module, images: torch.Tensor, precision: str) -> StepCost:
    """Counted operation by operation; the optimiser is left out."""
    model.train()
    with _MemoryTraffic() as traffic:
        with FlopCounterMode(display=False) as flops, autocast(images.device, precision):
            loss = model(images).float().mean()
        loss.backward()
    model.zero_grad()
    # backwards is twice forwards; torch's own count of it takes grouped convolutions for whole ones
    return StepCost(3 * flops.get_total_flops() / len(images) / 1e9, traffic.bytes / len(images) / 1e9)


class _MemoryTraffic(TorchDispatchMode):
    """Bytes of the tensors that go into and come out of each operation; a view moves nothing."""

    bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        if not function.is_view:
            tensors = [leaf for leaf in tree_leaves((arguments, named, made)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(min(each.nbytes, each.untyped_storage().nbytes()) for each in tensors)
        return made


def _seconds(work: Callable[[], object], device: torch.device, least: float = 0.5) -> float:
    """The least of many tries: what is asked is the limit, and a busy machine only ever adds time."""
    taken, begun = [], time.perf_counter()
    while len(taken) < 5 or time.perf_counter() - begun < least:
        start = time.perf_counter()
        work()
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)
