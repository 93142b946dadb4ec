"""The device to compute on, and its memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from pathlib import Path

import torch

from comp.engine import distributed
from comp.errors import UserError, shorten

OLD_GPU_BUILD = "CUDA 12.6 (cu126)"  # torch's last with kernels before capability 7.5 (Turing): P100 and V100
GPU_FILE = Path("/dev/nvidia0")
NO_GPU_ERRORS = (
    "No CUDA GPUs",
    "No HIP GPUs",
    "Found no NVIDIA driver",
    "not compiled with CUDA",
)  # of torch.cuda.init


class DeviceError(UserError):
    """A GPU that exists and cannot be used: the problem, and what to do about it."""

    def __init__(self, problem: str, advice: str):
        super().__init__(f"{problem}; {advice}")
        self.problem = problem


def choose_device(name: str) -> torch.device:
    """Return the device `name`, after a test that it computes.

    `auto` is CUDA, else Apple's MPS, else the CPU; an NVIDIA GPU that cannot be used is an error and not the CPU. Each
    process of torchrun has a CUDA device of its own.
    """
    if name == "auto":
        name = "cuda" if _has_cuda() else "mps" if torch.backends.mps.is_available() else "cpu"
    if distributed.world_size() > 1 and name not in ("cpu", "cuda"):
        raise UserError(
            f"--device {name} is one device, and torchrun started {distributed.world_size()} processes; use cuda or cpu"
        )
    if distributed.world_size() > 1 and name == "cuda":
        name = f"cuda:{distributed.local_rank()}"
    if name.startswith("cuda"):
        _has_cuda()
    try:
        device = torch.device(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about a GPU without kernels: it becomes one error below
            # A GPU without kernels in this build of torch has memory for a tensor, and fails when it adds 1. The device
            # `meta` makes tensors too, but they hold nothing to read.
            (torch.zeros(2, device=device) + 1).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise _device_error(name, str(error)) from None
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # pinned memory and messages to other processes use the current device
    return device


def choose_device_or_cpu() -> torch.device:
    """Return the device of `auto`, or the CPU after a warning where the GPU cannot be used."""
    try:
        return choose_device("auto")
    except DeviceError as error:
        print(f"warning: {error.problem}; predicting on the CPU", file=sys.stderr)
        return torch.device("cpu")


def _has_cuda() -> bool:
    """Return whether torch sees a GPU; an NVIDIA GPU that torch cannot initialise is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of an old driver once in a process, and reports no GPU
        if torch.cuda.is_available():
            return True
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        has_gpu = GPU_FILE.exists() and not is_hidden
        if has_gpu or not any(text in str(error) for text in NO_GPU_ERRORS):
            reason = shorten(" ".join(str(error).split()).partition(". ")[0])
            advice = "update its driver or install a build of torch that fits it, or use --device cpu"
            raise DeviceError(f"torch {torch.__version__} cannot use the NVIDIA GPU ({reason})", advice) from None
    return False


def _device_error(name: str, reason: str) -> UserError:
    """Return the error for a device on which torch fails for this reason."""
    if not name.startswith("cuda") or not torch.cuda.is_available() or "invalid device ordinal" in reason:
        return UserError(f"--device {name} is not available; use auto, cpu, cuda or mps")
    if is_out_of_memory(reason):
        advice = "wait for the programs that nvidia-smi lists, or use another GPU (--device cuda:1) or --device cpu"
        return DeviceError(f"the memory of {name} is full", advice)
    if "no kernel image" in reason:
        capability = torch.cuda.get_device_capability(name)
        build = OLD_GPU_BUILD if capability < (7, 5) else "a newer CUDA"
        return DeviceError(
            f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(name)} (compute capability "
            f"{capability[0]}.{capability[1]})",
            f"install the build of torch and torchvision for {build}, or use --device cpu",
        )
    return DeviceError(f"{name} cannot be used ({shorten(reason.splitlines()[0])})", "use another GPU, or --device cpu")


def is_out_of_memory(reason: Exception | str) -> bool:
    """Return whether torch failed because the memory of the device is full; cuBLAS has a text of its own for it."""
    return any(text in str(reason) for text in ("out of memory", "ALLOC_FAILED"))


def use_deterministic_algorithms(device: torch.device) -> None:
    """Let this process compute the same bits in every run on a GPU; a CPU does anyway.

    Call it before the first matrix product: cuBLAS reads the variable when it starts.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def is_nondeterministic(error: Exception) -> bool:
    """Return whether torch refused an operation that has no deterministic algorithm."""
    return "does not have a deterministic implementation" in str(error)


def configure_allocator() -> bool:
    """Make glibc keep large freed blocks, and return whether it does; False without glibc.

    Otherwise they return to the kernel after every step and are faulted in again: 0.63 s instead of 0.34 s for a step
    of DeepEfficientNet (32 images of 128 px, 2 cores).
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)  # never: at 224 px more than 2 GB are free between two steps
        mallopt(m_top_pad, 256 * 2**20)
        return True
    return False


def peak_memory_gb(device: torch.device) -> float:
    """Return the peak memory of the GPU's tensors, or of this process if there is no GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
