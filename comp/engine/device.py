"""The machine: which device, which number format, and the allocator's habits."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import time

import torch
from torch import nn

from comp.engine import ranks
from comp.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """`auto` is CUDA, else Apple's MPS, else the CPU; each process of torchrun has a CUDA device of its own."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if ranks.world() > 1 and wanted not in ("cpu", "cuda"):
        raise UserError(f"--device {wanted} is one device, and torchrun started {ranks.world()} processes; use cuda "
                        f"or cpu")
    if ranks.world() > 1 and wanted == "cuda":
        wanted = f"cuda:{ranks.rank_here()}"
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device {wanted} is not there; use auto, cpu, cuda or mps") from None
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # pinned memory, and messages to other processes, are of the current device
    return device


def keep_freed_memory() -> bool:
    """Tell glibc to keep big freed blocks: it returns them to the kernel after every step otherwise, and the kernel
    faults them in again: 0.63 s instead of 0.34 s for a step of DeepEfficientNet (32 images of 128 px, 2 cores).
    False where there is no glibc, and nothing to do."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)  # never: at 224 px more than 2 GB are free between two steps
        mallopt(m_top_pad, 256 * 2**20)
        return True
    return False


def autocast(device: torch.device, precision: str):
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


def choose_precision(wanted: str, model: nn.Module, device: torch.device, size: int, batch: int) -> str:
    """bf16 where a GPU has it, else fp16; on a CPU whichever of fp32 and bf16 trains faster, by timing a few steps of
    the real batch (on DeepEfficientNet at 128 px bf16 wins at 8 images and loses at 32). The least of each counts, for
    a busy machine only ever adds time, and near a tie fp32 stays. The run records the choice."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    times: dict[str, list[float]] = {"fp32": [], "bf16": []}
    trial = copy.deepcopy(model).train()
    images = torch.zeros(batch, 3, size, size).to(memory_format=torch.channels_last)
    for round_ in range(5):
        for precision, taken in times.items():
            start = time.perf_counter()
            with autocast(device, precision):
                loss = trial(images).float().square().mean()
            loss.backward()
            trial.zero_grad()
            if round_ > 1:  # the first rounds build kernels and fault memory in: up to ten times slower
                taken.append(time.perf_counter() - start)
    return "bf16" if min(times["bf16"]) < 0.9 * min(times["fp32"]) else "fp32"


def peak_memory_gb(device: torch.device) -> float:
    """On a GPU the most it held; else the most this process held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource
    import sys
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
