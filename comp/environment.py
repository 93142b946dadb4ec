"""Who computed this: the command, the machine, the versions and the code, for the files that outlive a process."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from comp.records.run import GitState, ProcessInfo

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "timm", "albumentations", "opencv-python-headless", "numpy", "scikit-learn")


def process_info(device: torch.device) -> ProcessInfo:
    """Return the command, machine and library versions of this process, which computes on `device`."""
    import torch

    return ProcessInfo(
        command=command_line(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        threads=torch.get_num_threads(),
        host=platform.node(),
        pid=os.getpid(),
        versions=versions(),
    )


def command_line() -> str:
    """What to give to python again."""
    program = Path(sys.argv[0])
    return shlex.join([*(("-m", "comp") if program.name == "__main__.py" else (program.name,)), *sys.argv[1:]])


def versions() -> dict[str, str]:
    known = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # a bundle does without some
            known[package] = version(package)
    return known


def git_state() -> GitState:
    """Return the commit of the current directory, and whether tracked files differ from it."""

    def git(*words: str) -> str | None:
        try:
            return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no")))


def _cpu_name() -> str:
    """What Linux calls it, else the kind of machine: `platform.processor()` is empty there."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()
