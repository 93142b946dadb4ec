"""Number formats: fp32, bf16 or fp16, chosen by the device or by timing."""

from __future__ import annotations

import copy
import time

import torch
from torch import nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a model computes in this precision."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


def choose_precision(requested: str, model: nn.Module, device: torch.device, size: int, batch_size: int) -> str:
    """Return `requested`, or for `auto` the fastest precision, which the run records.

    That is bf16 on a GPU that has it, else fp16. On a CPU it is the faster of fp32 and bf16 over a few steps of the
    real batch: on DeepEfficientNet at 128 px bf16 wins at 8 images and loses at 32. The shortest step of each counts,
    because other work can only lengthen a step. Near a tie fp32 is chosen.
    """
    if requested != "auto":
        return requested
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    durations: dict[str, list[float]] = {"fp32": [], "bf16": []}
    trial = copy.deepcopy(model).train()
    images = torch.zeros(batch_size, 3, size, size).to(memory_format=torch.channels_last)
    for round_ in range(5):
        for precision, seconds in durations.items():
            start = time.perf_counter()
            with autocast(device, precision):
                loss = trial(images).float().square().mean()
            loss.backward()
            trial.zero_grad()
            if round_ > 1:  # the first rounds build kernels and fault memory in: up to ten times slower
                seconds.append(time.perf_counter() - start)
    return "bf16" if min(durations["bf16"]) < 0.9 * min(durations["fp32"]) else "fp32"
