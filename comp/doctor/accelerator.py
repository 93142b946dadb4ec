"""torch, the driver, the GPUs, and what a training would choose on them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from comp.doctor.report import Report
from comp.errors import UserError

if TYPE_CHECKING:
    import torch

    from comp.schema import Config

MIN_GPU_MEMORY = 2 * 2**30  # DeepEfficientNet at 224 px with 32 images


def check_gpus(report: Report) -> None:
    """Report torch's build, the driver and every GPU, and run a kernel on each."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    architectures = " ".join(torch.cuda.get_arch_list())
    report.add("torch", f"{torch.__version__}, {built}{f', kernels for {architectures}' if architectures else ''}")
    driver, names = _nvidia_smi()
    report.add("driver", driver or "no nvidia-smi")
    with _quiet():
        count = torch.cuda.device_count()
        for index in range(count):
            _check_gpu(report, torch.device("cuda", index))
    if names and not torch.version.cuda:
        report.warn(
            f"this torch is built without CUDA and computes on the CPU, beside {', '.join(names)}; reinstall it: "
            f"pip install --force-reinstall torch torchvision"
        )
    elif len(names) > count and "CUDA_VISIBLE_DEVICES" not in os.environ:
        report.warn(f"torch sees {count} of {len(names)} GPUs; update the driver, or restart the machine")


def _check_gpu(report: Report, device: torch.device) -> None:
    import torch

    from comp.engine.device import choose_device

    name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    try:
        choose_device(str(device))
        kernel = "a kernel ran"
    except UserError as error:
        kernel = "no kernel runs"
        if device.index:  # the first is what `choose` tries
            report.warn(str(error))
    free, total = torch.cuda.mem_get_info(device)
    memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GB free"
    report.add("gpu", f"{device}: {name}, sm_{major}{minor}, {memory}, {kernel}")
    if kernel == "a kernel ran" and free < MIN_GPU_MEMORY:
        report.warn(f"{device} has {memory}; end the programs that nvidia-smi lists, or use another --device")


def choose(report: Report, requested: str) -> torch.device | None:
    """Return the device that `requested` means here, or None and a problem if it cannot be used."""
    from comp.engine.device import choose_device

    try:
        with _quiet():
            device = choose_device(requested)
    except UserError as error:
        report.error(str(error))
        report.add("device", f"none ({requested})")
        return None
    report.add("device", f"{device}{' (auto)' if requested == 'auto' else ''}")
    return device


def check_choices(report: Report, config: Config, device: torch.device) -> None:
    """Report the precision, the operations and the place of augmentation that a run would record."""
    from torch import nn

    from comp.batches.device_batches import choose_augment_device
    from comp.engine.kernels.fuse import choose_kernels
    from comp.engine.precision import choose_precision, cpu_computes_bf16

    train = config.train
    if train.precision == "auto" and device.type == "cpu" and cpu_computes_bf16():
        precision = "bf16 or fp32, by time, when a run begins"
    else:
        precision = choose_precision(train.precision, nn.Identity(), device, config.data.size, train.batch)
    kernels = choose_kernels(device)
    augment = choose_augment_device(config.augment.device, device)
    report.add("chosen", f"precision {precision}, kernels {kernels}, augment {augment}")
    if device.type == "cpu":
        _check_compiler(report, kernels)


def _check_compiler(report: Report, kernels: str) -> None:
    """Report the compiler of the fused operations, which only a CPU has."""
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    report.add("compiler", path or f"no {name}")
    if kernels == "torch":
        cause = f"{path} cannot compile the fused operations" if path else f"{name} is not installed"
        report.warn(f"{cause}, so torch's own are used, which are slower; install g++ and OpenMP: apt install g++")


def _nvidia_smi() -> tuple[str, list[str]]:
    """Return the driver as text, and the names of the GPUs that it knows; empty without nvidia-smi."""
    try:
        process = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", []
    if process.returncode:
        return f"nvidia-smi fails: {' '.join(process.stdout.split())[:100]}", []
    lines = [line.partition(", ") for line in process.stdout.splitlines() if line.strip()]
    cuda = _driver_cuda()
    return f"{lines[0][0]}{f', CUDA {cuda}' if cuda else ''}" if lines else "", [name for _, _, name in lines]


def _driver_cuda() -> str:
    """Return the newest CUDA that the driver knows, such as 12.4, or nothing."""
    number = ctypes.c_int(0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}" if number.value else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide torch's warnings of several lines: what they are about is reported in one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
