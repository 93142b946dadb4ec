"""Measure how costs grow with the number of images: CPU seconds and peak memory at several sizes, and the exponent.

python -m tests.benchmarks.growth_table [SIZE ...]       the whole table (default: 2000 10000 50000)
python -m tests.benchmarks.growth_table --only duplicates 2000 10000

The exponent is the slope of log seconds over log size: 1 is a cost in proportion to the size.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from comp.text import format_table
from tests.benchmarks.growth_cases import CASES, MODULES

SIZES = (2000, 10000, 50000)
SHORTEST = 0.02  # seconds; what takes less at every size has no exponent


def measure(case: str, size: int, directory: str) -> tuple[float, float]:
    """Return the CPU seconds of a case in this process, and the memory in MB that it needs beyond what was prepared."""
    os.chdir(directory)
    call = CASES[case](size)
    before = _memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
    start = time.process_time()
    call()
    return time.process_time() - start, _memory_mb("VmHWM") - before


def _memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure_apart(case: str, size: int, parent: str) -> tuple[float, float]:
    """Measure a case in a process and a directory of its own."""
    with tempfile.TemporaryDirectory(dir=parent) as directory, get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (case, size, directory))


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Return the slope of log seconds over log size, or None if all are too short to tell."""
    if max(seconds) < SHORTEST or len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-4)), 1)[0])


def measure_row(case: str, sizes: Sequence[int], parent: str) -> list[str]:
    """Return the row of a case, and print it."""
    seconds, megabytes = zip(*(measure_apart(case, size, parent) for size in sizes), strict=True)
    slope = exponent(sizes, seconds)
    texts = [f"{value:.2f}" for value in seconds]
    row = [case, *texts, "-" if slope is None else f"{slope:.2f}", f"{max(megabytes):.0f}"]
    print(*row, sep="  ", file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    for module in MODULES:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as parent:
        rows = [measure_row(case, args.sizes, parent) for case in CASES if args.only in case]
    print(format_table(["what", *(f"{size:,}" for size in args.sizes), "exponent", "peak MB"], rows, left=(0,)))


if __name__ == "__main__":
    main()
