"""Describe this process for the files that outlive it: command, machine, library versions, and git state."""

from __future__ import annotations

import contextlib
import os
import platform
import re
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
# In scheme://user:PASSWORD@host, and in ?password=PASSWORD.
PASSWORD = re.compile(r"(?<=password=)[^&\s]+|(?<=://)(?P<user>[^:/@\s]*):[^@]*(?=@)")


def process_info(device: torch.device) -> ProcessInfo:
    """Return the command, machine and library versions of this process, which computes on `device`."""
    import torch

    return ProcessInfo(
        command=command_line(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        threads=torch.get_num_threads(),
        host=platform.node(),
        pid=os.getpid(),
        versions=versions(),
    )


def command_line() -> str:
    """Return the arguments that make `python` run this command again, without the password of a database."""
    program = Path(sys.argv[0])
    is_kit = program.name == "__main__.py" or program.stem == "comp"  # the latter is the console script
    arguments = [PASSWORD.sub(lambda match: match["user"] or "", argument) for argument in sys.argv[1:]]
    return shlex.join([*(("-m", "comp") if is_kit else (program.name,)), *arguments])


def versions() -> dict[str, str]:
    """Return the version of Python and of each installed library that affects results."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # a bundle does not need all of them
            installed[package] = version(package)
    return installed


def git_state() -> GitState:
    """Return the commit of the current directory, and whether tracked files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no")))


def cpu_name() -> str:
    """Return the processor's name on Linux, where `platform.processor()` is empty; elsewhere the machine type."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()
