"""Audit hooks: they see every file that a program opens, renames, removes or makes, and can disturb it there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"}
Handler = Callable[[str, str], None]  # "read", "write" or an event of CHANGES, and the path below the workspace


def watch(workspace: Path, handle: Handler) -> None:
    """Call `handle` before each access of this process to a file in the workspace. A hook cannot be removed."""
    root, busy = f"{workspace}{os.sep}", False

    def hook(event: str, arguments: tuple) -> None:
        nonlocal busy
        if (
            busy
            or (event != "open" and event not in CHANGES)
            or not isinstance(arguments[0], (str, bytes, os.PathLike))
        ):
            return
        busy = True
        try:
            path = os.path.abspath(os.fsdecode(arguments[0]))
        finally:
            busy = False
        if path.startswith(root):
            kind = event if event != "open" else "write" if arguments[2] & WRITING else "read"
            handle(kind, path.removeprefix(root))

    sys.addaudithook(hook)


def record(workspace: Path, log: Path) -> None:
    """Write every access to `log`, a line each: the kind, a tab, the path."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    watch(workspace, lambda kind, path: os.write(descriptor, f"{kind}\t{path}\n".encode()) and None)


def kill_at(workspace: Path, position: int, number: int) -> None:
    """Send this process a signal before its change number `position` of the workspace, counted from 0."""
    changes = iter(range(1_000_000))
    watch(
        workspace,
        lambda kind, _: os.kill(os.getpid(), number) if kind != "read" and next(changes) == position else None,
    )


def fill_disk_at(workspace: Path, position: int) -> None:
    """Refuse every new file and directory from the change number `position` on, as a full disk does."""
    changes = iter(range(1_000_000))

    def handle(kind: str, path: str) -> None:
        is_new = kind == "os.mkdir" or (
            kind == "write" and not (path.endswith(".lock") and (workspace / path).exists())
        )
        if kind != "read" and next(changes) >= position and is_new:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    watch(workspace, handle)


def forbid(workspace: Path, forbidden: str) -> None:
    """Refuse to open a file, as one that belongs to somebody else; root could open it."""

    def handle(kind: str, path: str) -> None:
        if path == forbidden and kind in ("read", "write"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    watch(workspace, handle)
