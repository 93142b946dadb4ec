"""The record of runs/<study>/study.json: the trials of a study, for its report and for W&B."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from comp.files import file_exists
from comp.records.base import Record

STUDY_FILE = "study.json"
JOURNAL = "journal.log"  # of Optuna; the only file of a study of an earlier version

TrialStatus = Literal["complete", "pruned", "failed", "running", "waiting"]


@dataclass(frozen=True)
class TrialRecord(Record):
    """A trial: its values of the searched keys, and a score per objective if it is complete."""

    number: int
    status: TrialStatus
    values: dict[str, Any]
    scores: tuple[float, ...] | None = None
    note: str | None = None  # why it failed


@dataclass(frozen=True)
class StudyRecord(Record):
    """A study: what it searches for, and its trials so far."""

    ADVICE = "delete it; the next trial writes it again"

    name: str
    objectives: tuple[str, ...]  # the metric, and what else is measured
    higher_is_better: tuple[bool, ...]
    folds: str
    storage: str | None  # the address of a database, without its password; None: the journal beside this file
    trials: tuple[TrialRecord, ...]
    importances: dict[str, float] = field(default_factory=dict)  # each key's share of the variance of scores

    def trial(self, number: int) -> TrialRecord | None:
        """Return a trial by its number."""
        return next((trial for trial in self.trials if trial.number == number), None)


def is_study(directory: Path) -> bool:
    """Return whether a directory is that of a study, whose trials are runs below it."""
    return any(file_exists(directory / name) for name in (STUDY_FILE, JOURNAL))
