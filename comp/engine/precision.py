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

    That is bf16 on a GPU that has it, else fp16. On a CPU that has instructions for bf16 it is the faster of fp32 and
    bf16 over a few steps; without them it is fp32, because torch then takes 9 times as long in bf16 (DeepEfficientNet
    at 224 px, 8 images, one AVX2 core).
    """
    if requested != "auto":
        return requested
    if device.type == "cuda":
        return "bf16" if has_precision(device, "bf16") else "fp16"
    if device.type != "cpu" or not cpu_computes_bf16():
        return "fp32"
    seconds = _time_steps(model, size, batch_size)
    return "bf16" if seconds["bf16"] < 0.9 * seconds["fp32"] else "fp32"


def has_precision(device: torch.device, precision: str) -> bool:
    """Return whether the device computes in this precision, and does not emulate it as a T4 does bf16."""
    if precision == "fp32":
        return True
    if device.type == "cuda":
        return precision == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and precision == "bf16" and cpu_computes_bf16()


def choose_inference_precision(trained: str, device: torch.device) -> str:
    """Return the precision of the training where this device has it, else fp32.

    fp16 would be faster than fp32 on a T4, but its range may be too small for a model that was trained in bf16.
    """
    return trained if has_precision(device, trained) else "fp32"


def cpu_computes_bf16() -> bool:
    """Return whether the CPU has instructions that multiply in bf16: AVX512_BF16, AMX_BF16 or Arm's."""
    return any(present for name, present in torch.cpu.get_capabilities().items() if name.endswith("bf16"))


def _time_steps(model: nn.Module, size: int, batch_size: int) -> dict[str, float]:
    """Return the seconds of a training step on the CPU in fp32 and in bf16.

    They are counted on the clock of one thread that computes alone, which does not run while other programs do, so a
    busy machine chooses as an idle one. The shortest step counts, because a shared cache can only lengthen it.
    """
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    trial = copy.deepcopy(model).train()
    images = torch.zeros(batch_size, 3, size, size).to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for round_ in range(5):
            for precision, measured in seconds.items():
                start = time.thread_time()
                with autocast(torch.device("cpu"), precision):
                    loss = trial(images).float().square().mean()
                loss.backward()
                trial.zero_grad()
                if round_ > 1:  # the first rounds build kernels and fault memory in: up to ten times slower
                    measured.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {precision: min(measured) for precision, measured in seconds.items()}
