"""The limits of this machine, and the cost of a training step."""

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
    """Return the GFLOP/s of multiplying two square matrices in the number format of the training."""
    left, right = (torch.rand(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
    return 2 * side**3 / 1e9 / _seconds(lambda: left @ right, device)


def copy_gbs(device: torch.device, megabytes: int = 256) -> float:
    """Return the GB/s of copying memory, bytes read and bytes written together."""
    source = torch.zeros(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / 1e9 / _seconds(lambda: target.copy_(source), device)


@dataclass(frozen=True)
class StepCost:
    """The cost of one image in a training step."""

    gflop: float
    gigabytes: float  # memory traffic if each operation reads its inputs and writes its outputs once, uncached


def count_step_cost(model: torch.nn.Module, images: torch.Tensor, precision: str) -> StepCost:
    """Count the cost of a step operation by operation, without the optimiser."""
    model.train()
    with _MemoryTraffic() as traffic:
        with FlopCounterMode(display=False) as flops, autocast(images.device, precision):
            loss = model(images).float().mean()
        loss.backward()
    model.zero_grad()
    # the backward pass costs two forward passes; torch counts its grouped convolutions as if they were not grouped
    return StepCost(3 * flops.get_total_flops() / len(images) / 1e9, traffic.bytes / len(images) / 1e9)


class _MemoryTraffic(TorchDispatchMode):
    """Count the bytes of the tensors that every operation reads and writes; a view moves none."""

    bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        results = function(*arguments, **(named or {}))
        if not function.is_view:
            tensors = [leaf for leaf in tree_leaves((arguments, named, results)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in tensors)
        return results


def _seconds(work: Callable[[], object], device: torch.device, min_seconds: float = 0.5) -> float:
    """Return the shortest of many measurements, because other work on the machine can only lengthen one."""
    durations: list[float] = []
    first_start = time.perf_counter()
    while len(durations) < 5 or time.perf_counter() - first_start < min_seconds:
        start = time.perf_counter()
        work()
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()
        durations.append(time.perf_counter() - start)
    return min(durations)
