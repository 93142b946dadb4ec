"""Compile C++ on the machine that runs it, for operations that no library has.

It takes six seconds once, and is skipped without a compiler. The compiled library is stored in __pycache__ beside its
source, as Python's own compiled files are.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

# Vectors as wide as the machine's. The last two flags make `std::sqrt` and a rounded float vector operations; NaN and
# infinity stay, which -ffast-math would not promise: a diverging loss must stay visible.
FLAGS = [
    "-std=gnu++17",  # also where it is not the default
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fopenmp",
    "-fPIC",
    "-fno-math-errno",
    "-fno-trapping-math",
]


@lru_cache
def load_native(source: Path) -> ctypes.CDLL | None:
    """Return the library of the C++ file `source`, compiled if necessary; None if it cannot be."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if platform.system() != "Linux" or not compiler:
        return None
    try:
        version = subprocess.run([compiler, "--version"], capture_output=True).stdout
        cpu_flags = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")][:1]
        text = b"".join(path.read_bytes() for path in [source, *sorted(source.parent.glob("*.h"))])
        key = hashlib.sha256(text + version + " ".join([*cpu_flags, *FLAGS]).encode()).hexdigest()[:16]
        library = source.resolve().parent / "__pycache__" / f"{source.stem}-{key}.so"
        if not library.is_file():
            library.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(library.with_suffix(".lock")):
                if not library.is_file():  # another process may have made it while this one waited
                    _compile(compiler, source, library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.CalledProcessError):
        return None


def _compile(compiler: str, source: Path, library: Path) -> None:
    """Compile and link under temporary names, which the next attempt uses again if this one is killed."""
    compiled, linked = (library.with_suffix(f".part.{suffix}") for suffix in ("o", "so"))
    try:
        # -pipe: a killed compiler leaves no files in /tmp
        subprocess.run(
            [compiler, *FLAGS, "-pipe", "-c", str(source), "-o", str(compiled)], check=True, capture_output=True
        )
        # linked without OpenMP: its symbols are torch's own, so both share one pool of threads
        subprocess.run([compiler, "-shared", str(compiled), "-o", str(linked)], check=True, capture_output=True)
        linked.rename(library)
    finally:
        compiled.unlink(missing_ok=True)
        linked.unlink(missing_ok=True)
