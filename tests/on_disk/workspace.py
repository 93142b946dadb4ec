"""Helpers of the tests in this directory: lay out a workspace, run the programs in it, describe what they wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.on_disk.replay import call

HERE = Path(__file__).resolve().parent
REPO_ROOT = next(path for path in HERE.parents if (path / "pyproject.toml").is_file())
MADE = HERE / "made"
MTIME = 1_700_000_000  # seconds, as in make.sh: the times of images are part of a cache key
CPU_KEYS = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")


def lay_out(target: Path, *names: str) -> None:
    """Copy the configs of the repository and of the tests, and those directories of made/."""
    for source, name in ((REPO_ROOT, "configs"), (HERE, "configs"), *((MADE, name) for name in names)):
        shutil.copytree(source / name, target / name, dirs_exist_ok=True)
    for path in (target / "input").rglob("*"):
        os.utime(path, (MTIME, MTIME))


def run(*arguments: str, status: int = 0) -> str:
    """Run a program of the repository in this process; return what it printed to stdout."""
    actual, stdout = call(REPO_ROOT, *arguments)
    assert actual == status, f"{arguments}: {stdout}"
    return stdout


def table_today(path: Path) -> Path | None:
    """Return the file that has the content of an old table of predictions x.csv, or of its x.from.json, today.

    None for the mean of the fold models, which `predictions export` writes.
    """
    name = path.name.removesuffix(".csv").removesuffix(".from.json")
    if name == "test" and path.parent.parent.name != "full":
        return None
    if name == "best" and not path.with_name("best.npz").exists():
        name = "last"  # of equal ones the last is written
    return path.with_name(f"{name}.npz")


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def describe_machine() -> str:
    """Return a description of everything that affects the last bits of a training, except the number of threads."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = dict(line.replace("\t", "").split(": ", 1) for line in lines[::-1] if ": " in line)
    compiler = shutil.which("g++")
    compiler_version = (
        subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout if compiler else ""
    )
    return "\n".join(
        [
            *(f"{key}: {cpu.get(key, '')}" for key in CPU_KEYS),
            f"compiler: {compiler_version.partition(chr(10))[0]}",
            *(f"{package}: {version(package)}" for package in ("torch", "timm", "numpy", "opencv-python-headless")),
        ]
    )


VALUE_KEYS = {"status", "kept", "metric", "method", "views", "runtime", "kind", "severity", "precision", "event"}


def describe_keys(value: Any, key: str = "") -> Iterator[str]:
    """Yield a line per key, in order: the key, and the type of its value, or the value if that is a name of ours."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from describe_keys(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple) and value:
        yield from dict.fromkeys(line for inner in value for line in describe_keys(inner, f"{key}[]"))
    elif isinstance(value, torch.Tensor):
        yield f"{key}: {value.dtype} {tuple(value.shape)}"
    else:
        is_name = key.rpartition(".")[2].removesuffix("[]") in VALUE_KEYS
        yield f"{key}: {value if is_name else type(value).__name__}"
