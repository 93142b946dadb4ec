"""The store of a study's trials: a journal on this disk, or a PostgreSQL server for several machines.

Both answer two questions in the same way: which process may create or take a trial now (`claim`), and whether the
process that works on a trial still lives (`hold`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import AcquireReturnProxy, FileLock, Timeout
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from comp.records.study import JOURNAL
from comp.runs import RUNS
from comp.study.journal import open_journal

T = TypeVar("T")


@dataclass
class TrialHold:
    """A trial that this process works on, until the `with` block ends. `is_lost`: another process has taken it."""

    locks: ExitStack
    is_lost: Callable[[], bool] = field(default=lambda: False)

    def __enter__(self) -> TrialHold:
        return self

    def __exit__(self, *_: object) -> None:
        self.locks.close()


class Claims(Protocol):
    """The right to create and to take trials, which one process of a study has at a time."""

    def hold(self, trial: Trial | FrozenTrial) -> TrialHold | None:
        """Take a running trial, or return None if another process works on it."""


class TrialStore(Protocol):
    """The trials of a study."""

    storage: BaseStorage
    address: str | None  # of a database, without its password

    def claim(self, action: Callable[[Claims], T]) -> T:
        """Return what `action` returns, called while this process alone may create and take trials."""

    def named(self, kind: str) -> TrialStore:
        """Return the same store for trials that are locked under another name."""


class JournalStore:
    """A journal below runs/, for the processes of one machine. The system frees the locks of a process that dies."""

    def __init__(self, study: str):
        self.kind, self.directory = "trial", RUNS / study
        self.address: str | None = None
        self.storage: BaseStorage = open_journal(self.directory / JOURNAL)

    def claim(self, action: Callable[[Claims], T]) -> T:
        with FileLock(self.directory / ".lock"):
            return action(self)

    def named(self, kind: str) -> JournalStore:
        store = copy.copy(self)
        store.kind = kind
        return store

    def hold(self, trial: Trial | FrozenTrial) -> TrialHold | None:
        lock = lock_trial(self.directory / f".{self.kind}_{trial.number:04d}.lock")
        return TrialHold(lock) if lock else None


def lock_trial(path: Path) -> ExitStack | None:
    """Lock a trial among the processes that share this file; None if one of them has it."""
    try:
        lock: AcquireReturnProxy = FileLock(path).acquire(timeout=0)
    except Timeout:
        return None
    stack = ExitStack()
    stack.enter_context(lock)
    return stack


def open_store(study: str, url: str | None) -> TrialStore:
    """Open the journal of a study, or its part of the database at `url`; create what does not exist."""
    (RUNS / study).mkdir(parents=True, exist_ok=True)
    if url is None:
        return JournalStore(study)
    from comp.study.database import DatabaseStore  # the journal needs no SQLAlchemy

    return DatabaseStore(study, url)
