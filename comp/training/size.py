"""Refuse a training whose predictions cannot fit into memory or onto the disk, before it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from comp.errors import UserError
from comp.records.base import Fold
from comp.runs import RUNS

MEMORY_COPIES = 10  # of the OOF predictions in infer.py, 5 in train.py: measured at 15,000 images of 5,000 classes
TEST_COPIES = 6  # of the test predictions of each fold model, while they are blended
DISK_COPIES = 3  # last.npz and best.npz of each fold, and oof.npz
MIN_BYTES = 2**28  # below 256 MiB nothing is refused


def check_size(split: pd.DataFrame, folds: Sequence[Fold], test: int, columns: int) -> None:
    """Refuse to train folds whose predictions, float32 of `columns` per image, this machine cannot hold.

    `test` is the number of test images, which each fold's model predicts in infer.py.
    """
    validated = int(split["fold"].isin([fold for fold in folds if isinstance(fold, int)]).sum())
    oof, of_test = 4 * validated * columns, 4 * test * columns * len(folds)
    if oof + of_test < MIN_BYTES:
        return
    for kind, needed, free in (
        ("memory", max(MEMORY_COPIES * oof, TEST_COPIES * of_test), available_memory()),
        ("disk", DISK_COPIES * oof + of_test, shutil.disk_usage(_existing(RUNS)).free),
    ):
        if free is not None and needed > free:
            raise UserError(
                f"the predictions of {validated:,} validation and {test:,} test images for {columns:,} classes take "
                f"about {needed / 1e9:.1f} GB of {kind}, and {free / 1e9:.1f} GB are free; train fewer folds "
                f"(--fold 0), make smaller ones (folds.k), or use a machine with more {kind}"
            )


def available_memory() -> int | None:
    """Return the bytes that a process can still use, within the limit of its container; None where nothing tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        return min(free, max(0, limit - used))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free


def _existing(path: Path) -> Path:
    """Return the path or its closest parent that exists."""
    path = path.absolute()
    while not os.path.isdir(path):
        path = path.parent
    return path
