"""Temporary directories that do not pile up: what a killed process left is removed by the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary_directory(purpose: str) -> Iterator[Path]:
    """Make a directory outside the working directory for the time of the context.

    Directories for the same purpose that belong to processes which no longer exist are removed first.
    """
    prefix = f"comp-{purpose}-"
    for directory in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = directory.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not is_alive(int(owner)):
            shutil.rmtree(directory, ignore_errors=True)  # another user's stays
    temporary = tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-")
    try:
        yield Path(temporary.name).resolve()
    finally:
        try:
            temporary.cleanup()
        except KeyboardInterrupt:  # a signal while it was being removed
            temporary.cleanup()
            raise


def is_alive(pid: int) -> bool:
    """Return whether a process exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True
