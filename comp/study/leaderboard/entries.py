"""The leaderboard's entries, read from the records of runs and blends. A broken file affects its own entry only."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from comp.data.folds import describe_split_groups
from comp.errors import UserError, did_you_mean
from comp.files import file_exists
from comp.prediction_file import content_sha256, find_table, recorded_sha256
from comp.progress_bar import progress_bar
from comp.records.blend import BlendRecord
from comp.records.metrics import RunMetrics
from comp.records.run import FoldRecord, RunRecord, describe_unlabelled
from comp.records.task import TaskSpec
from comp.runs import BLENDS, RUNS, list_runs

READ_ERRORS = (UserError, OSError, ValueError)
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class LeaderboardEntry:
    """A run or a blend. What is unknown is None."""

    name: str  # a blend's name begins with blends/
    path: Path
    oof: Path  # the file of its OOF predictions
    folds_sha256: str
    metric: str
    higher_is_better: bool
    dataset: str | None = None  # None for a run, whose config names it
    score: float | None = None  # OOF; of a blend, cross-fitted
    interval: tuple[float, float] | None = None
    per_fold: tuple[float, ...] = ()
    optimism: float | None = None  # how much better the best epoch is than the last; for a blend, the naive score
    optimistic: bool = False  # each fold's epoch was chosen on the images that are scored
    parameters: int | None = None
    seconds: float | None = None  # training time of all folds
    complete: bool = False
    remark: str = ""  # what is missing, and what the score depends on
    task: TaskSpec | None = None  # None: one class per image
    oof_sha256: str | None = None  # the hash of the OOF predictions when they were written; None: not recorded

    @property
    def is_blend(self) -> bool:
        """Return whether this is a blend, not a run."""
        return self.name.startswith("blends/")


def read_entries(requested: Iterable[str] = ()) -> tuple[list[LeaderboardEntry], list[str]]:
    """Return the entries of the requested names or patterns, or all; and a warning per unreadable run or blend."""
    entries: dict[str, LeaderboardEntry] = {}
    warnings = []
    blends = {file.parent.relative_to(RUNS).as_posix(): file.parent for file in sorted(BLENDS.rglob("blend.json"))}
    for name, path in progress_bar({**list_runs(), **blends}.items(), "reading runs"):
        try:
            entry = _blend_entry(name, path, entries) if name in blends else _run_entry(name, path)
            entries[name] = _check_oof(entry)
        except READ_ERRORS as error:
            warnings.append(f"{error}; left out")
    names = dict.fromkeys(match for pattern in requested for match in _matches(pattern, entries))
    return [entries[name] for name in names or entries], warnings


def read_entry(name: str) -> LeaderboardEntry:
    """Return the entry of one run or blend; a UserError if it has no score."""
    entries, _ = read_entries([name])
    if len(entries) > 1:
        raise UserError(f"{name} matches {len(entries)} runs; name one, such as {entries[0].name}")
    if entries[0].score is None:
        raise UserError(f"{entries[0].name} has no score to compare with: {entries[0].remark}")
    return entries[0]


def _oof_file(directory: Path) -> Path:
    """Return the file of the OOF predictions in a directory, whether it exists or not."""
    return find_table(directory / "oof.npz") or directory / "oof.npz"


def _check_oof(entry: LeaderboardEntry) -> LeaderboardEntry:
    """Return the entry, with a remark if its OOF predictions are not those that were written: it is not tested."""
    if entry.oof_sha256 is None or not entry.oof.is_file() or content_sha256(entry.oof) == entry.oof_sha256:
        return entry
    remark = f"{entry.oof.name} is not what was written; run infer.py again"
    return replace(entry, remark=_join(entry.remark, remark))


def _matches(pattern: str, entries: dict[str, LeaderboardEntry]) -> list[str]:
    """Return the names of the entries that a name, a path or a pattern matches; none is a UserError."""
    name = pattern.rstrip("/").removeprefix(f"{RUNS}/")
    matches = [name] if name in entries else fnmatch.filter(entries, name)
    if not matches:
        raise UserError(f"there is no run or blend {pattern}{did_you_mean(name, entries)}")
    return matches


def _run_entry(name: str, path: Path) -> LeaderboardEntry:
    """Return a run's entry; an unreadable metrics.json is a remark."""
    record = RunRecord.read(path / "run.json")
    oof = _oof_file(path / "predictions" / "identity")
    entry = LeaderboardEntry(
        name,
        path,
        oof,
        record.folds_sha256,
        record.metric,
        record.higher_is_better,
        parameters=record.parameters,
        task=record.task,
        oof_sha256=recorded_sha256(oof) if oof.is_file() else None,
    )
    try:
        entry = _with_scores(entry, folds=len(record.folds))
    except READ_ERRORS:
        return replace(entry, remark="metrics.json is unreadable; run its train.py again")
    return replace(entry, remark=_join(entry.remark, describe_unlabelled(record.unlabelled_images)))


def _with_scores(entry: LeaderboardEntry, folds: int) -> LeaderboardEntry:
    """Return a run's entry with the scores of its metrics.json, if any of its `folds` is done."""
    file = entry.path / "metrics.json"
    metrics = RunMetrics.read(file) if file_exists(file) else None
    if metrics is None or metrics.scores is None:
        return replace(entry, remark="no fold is done")
    scores, kept = metrics.scores, metrics.scores.oof.kept
    per_fold = scores.per_fold.get(metrics.kept, ())
    _check_finite(kept.score, *kept.interval, *per_fold, scores.best_minus_last)
    return replace(
        entry,
        score=kept.score,
        interval=kept.interval,
        per_fold=per_fold,
        optimism=scores.best_minus_last,
        optimistic=kept.optimistic,
        seconds=_training_seconds(entry.path, metrics.folds_done),
        complete=metrics.complete,
        remark=_remark(f"{len(metrics.folds_done)} of {folds} folds", metrics.complete, metrics.split_groups),
    )


def _blend_entry(name: str, path: Path, entries: dict[str, LeaderboardEntry]) -> LeaderboardEntry:
    """Return a blend's entry. Its parameters and training time are those of its members, which are in `entries`."""
    record = BlendRecord.read(path / "blend.json")
    oof = record.oof
    _check_finite(oof.score, *oof.interval, *oof.per_fold, oof.naive)
    members = [entries.get(run) for run in {member.run for member in record.members}]
    return LeaderboardEntry(
        name,
        path,
        _oof_file(path),
        record.folds_sha256,
        record.metric,
        record.higher_is_better,
        dataset=record.dataset,
        score=oof.score,
        interval=oof.interval,
        per_fold=oof.per_fold,
        optimism=(oof.naive - oof.score) * (1 if record.higher_is_better else -1),
        optimistic=record.optimistic,
        parameters=_sum_known([member.parameters if member else None for member in members]),
        seconds=_sum_known([member.seconds if member else None for member in members]),
        complete=record.complete,
        remark=_join(
            _remark("some folds are missing", record.complete, record.split_groups),
            describe_unlabelled(record.unlabelled_images),
        ),
        task=next((member.task for member in members if member), None),
        oof_sha256=record.oof_sha256,
    )


def _remark(missing: str, complete: bool, split_groups: int) -> str:
    return _join("" if complete else missing, describe_split_groups(split_groups))


def _join(*remarks: str) -> str:
    return "; ".join(filter(None, remarks))


def _sum_known(values: list[Number | None]) -> Number | None:
    """Return the sum, or None if a value is unknown or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _training_seconds(path: Path, folds: Iterable[int]) -> float | None:
    """Return the training time of the folds, or None if that of one is unknown."""
    try:
        return _sum_known([FoldRecord.read(path / f"fold{fold}" / "fold.json").seconds for fold in folds])
    except READ_ERRORS:
        return None


def _check_finite(*numbers: float) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a score is not finite; run the command that wrote it again")
