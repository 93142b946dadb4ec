"""The journal of a study, Optuna's log of every trial: recovered after damage, locked by the system.

Optuna locks a journal by a link beside it, which a killed process leaves: with a path that is relative, as ours, the
next process then waits for ever. The system frees a lock of its own when the process dies.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import count
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from comp.errors import UserError
from comp.files import check_regular

MAX_LINE = 2**20  # bytes; Optuna's longest lines, the attributes of a study, have some thousand


class JournalLock(JournalFileOpenLock):
    """A lock that the system frees when its process dies. A line that was cut off is set aside when it is taken."""

    def __init__(self, path: Path):
        self._path, self._file_lock = path, FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        self._file_lock.acquire()
        with open(self._path, "rb") as file:
            is_cut_off = file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n"
        if is_cut_off:  # or Optuna would append to the line, and spoil both
            set_damage_aside(self._path)
        return True

    def release(self) -> None:
        self._file_lock.release()


def open_journal(path: Path) -> JournalStorage:
    """Open a journal, or begin one. Lines from the first damaged one on are set aside, with a warning."""
    lock = JournalLock(path)
    with lock._file_lock:
        if os.path.lexists(path):
            check_regular(path)
            set_damage_aside(path)
        try:
            return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        except OSError:
            raise
        except Exception as error:  # whatever Optuna raises for lines that it does not know
            raise UserError(
                f"{path} cannot be read by Optuna {optuna.__version__} ({type(error).__name__}), perhaps because a "
                f"newer one wrote it; update Optuna, or move the file away to begin the study anew"
            ) from None


def set_damage_aside(path: Path) -> None:
    """Move the lines from the first damaged one on into a file beside the journal, and say so; no damage is silent.

    The order of lines gives trials their numbers. After a lost line the later ones could belong to another trial, so
    they are not used; their trials are asked for again, and trained folds are found.
    """
    end = lines = 0
    with open(path, "rb") as file:
        while _is_whole(line := file.readline(MAX_LINE)):
            end, lines = end + len(line), lines + 1
        if not line:
            return
        file.seek(end)
        damaged = next(
            copy for number in count(1) if not (copy := path.with_name(f"{path.name}.damaged-{number}")).exists()
        )
        with open(damaged, "xb") as copy_file:
            while block := file.read(MAX_LINE):
                copy_file.write(block)
            copy_file.flush()
            os.fsync(copy_file.fileno())
    os.truncate(path, end)
    print(
        f"warning: {path} is damaged from line {lines + 1} on, as after a kill or on a full disk: the rest is set "
        f"aside in {damaged.name}, and the study continues from the {lines} lines before it",
        file=sys.stderr,
        flush=True,
    )


def _is_whole(line: bytes) -> bool:
    """Return whether a line is complete, and an operation of Optuna."""
    if not line.endswith(b"\n"):
        return False
    try:
        operation = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(operation, dict) and isinstance(operation.get("op_code"), int)
