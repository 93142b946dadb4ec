"""The processor, memory, disks and allocator of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from comp.doctor.report import Report
from comp.environment import cpu_name

if TYPE_CHECKING:
    import torch

    from comp.schema import Config

MIN_DISK = 2**30  # a run of DeepEfficientNet takes 0.1 GB a fold, the cache of 3,200 images 0.6 GB
MIN_MEMORY = 2 * 2**30  # a training process of the demo takes 1.2 GB
MAX_PREFETCHED = 3  # batches of a worker that are in shared memory: two that wait, and one that is written
SHARED_MEMORY = Path("/dev/shm")
ALLOCATOR_VARIABLES = (
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_TRIM_THRESHOLD_",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)


def check_processor(report: Report) -> None:
    """Report the processor, its cores and the threads that torch will use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    report.add("cpu", f"{cpu_name()}, {cores} cores, {threads} threads")
    if threads > cores:
        report.warn(f"{threads} threads on {cores} cores wait for each other; set OMP_NUM_THREADS={cores}")


def check_memory(report: Report) -> None:
    """Report the free memory, and how it is allocated."""
    from comp.engine.device import configure_allocator
    from comp.training.size import available_memory

    free = available_memory()
    report.add("memory", "unknown" if free is None else f"{free / 2**30:.1f} GB free")
    if free is not None and free < MIN_MEMORY:
        report.warn(f"{free / 2**30:.1f} GB of memory are free; end other programs, or set data.size and --jobs lower")
    settings = [f"{name}={os.environ[name]}" for name in ALLOCATOR_VARIABLES if os.environ.get(name)]
    kept = "keeps freed memory" if configure_allocator() else "returns freed memory"
    report.add("allocator", ", ".join([kept, *settings]))


def check_disk(report: Report) -> None:
    """Report the free disk below runs/, where everything is written."""
    from comp.runs import RUNS

    directory = RUNS.absolute()
    while not directory.is_dir():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    report.add("disk", f"{free / 2**30:.1f} GB free below {RUNS}/")
    if free < MIN_DISK:
        report.error(f"{free / 2**30:.2f} GB are free below {RUNS}/; delete files, or make it a link to a larger disk")
    if not os.access(directory, os.W_OK):
        report.error(f"{directory} cannot be written; run from a directory that can, or change its permissions")


def check_shared_memory(report: Report, config: Config, device: torch.device) -> None:
    """Report whether /dev/shm holds the batches of the loader's workers."""
    from comp.batches.loader import choose_workers

    workers = choose_workers(config.data.workers, device.type)
    if not SHARED_MEMORY.is_dir():
        report.add("workers", str(workers))
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    report.add("workers", f"{workers}; {free / 2**30:.2f} GB free in {SHARED_MEMORY}")
    side = max(256, config.data.size)
    needed = workers * MAX_PREFETCHED * config.train.batch * side * side * 3
    if needed > free:
        report.warn(
            f"{workers} workers may take {needed / 2**30:.2f} GB of {SHARED_MEMORY}, and {free / 2**30:.2f} GB are "
            f"free; set data.workers=0, or start the container with --shm-size=2g"
        )
