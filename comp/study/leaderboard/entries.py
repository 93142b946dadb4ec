"""What every run and blend says of itself. A broken or half-written file costs its own line, never the table."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comp.errors import UserError, did_you_mean
from comp.files import read_json
from comp.records.metrics import RunMetrics
from comp.runs import RUNS, list_runs

READ_ERRORS = (UserError, OSError, KeyError, IndexError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class LeaderboardEntry:
    """A line of the table. What is not known is None."""

    name: str  # a blend's begins with blends/
    path: Path
    oof: Path  # its out-of-fold predictions
    folds_sha256: str
    metric: str
    higher_is_better: bool
    score: float | None = None  # out of fold; of a blend, cross-fitted
    interval: tuple[float, float] | None = None
    per_fold: tuple[float, ...] = ()
    optimism: float | None = None  # how much better the best epoch looks than the last; of a blend, the naive score
    optimistic: bool = False  # the score itself is: each fold's epoch was chosen on it
    parameters: int | None = None
    seconds: float | None = None  # of training, of all folds
    complete: bool = False
    remark: str = ""  # what is missing


def read_entries(wanted: Iterable[str] = ()) -> tuple[list[LeaderboardEntry], list[str]]:
    """Those of the names or patterns asked for, or all; and a warning for each that says nothing of itself."""
    entries, warnings = {}, []
    paths = {
        **list_runs(),
        **{
            file.parent.relative_to(RUNS).as_posix(): file.parent
            for file in sorted((RUNS / "blends").rglob("blend.json"))
        },
    }
    for name, path in paths.items():
        try:
            entries[name] = _blend_entry(name, path, entries) if name.startswith("blends/") else _run_entry(name, path)
        except READ_ERRORS as problem:
            said = problem if isinstance(problem, (UserError, OSError)) else f"{path} does not say what it is"
            warnings.append(f"{said}; left out")
    asked = dict.fromkeys(match for text in wanted for match in _matches(text, entries))
    return [entries[name] for name in asked or entries], warnings


def _matches(text: str, entries: dict[str, LeaderboardEntry]) -> list[str]:
    name = text.rstrip("/").removeprefix(f"{RUNS}/")
    found = [name] if name in entries else fnmatch.filter(entries, name)
    if not found:
        raise UserError(f"there is no run or blend {text}{did_you_mean(name, entries)}")
    return found


def _run_entry(name: str, path: Path) -> LeaderboardEntry:
    about = read_json(path / "run.json")
    known = LeaderboardEntry(
        name,
        path,
        path / "predictions" / "identity" / "oof.csv",
        str(about["folds_sha256"]),
        str(about["metric"]),
        bool(about["higher_is_better"]),
        parameters=int(_number(about["parameters"])),
    )
    folds = len(about["folds"])
    try:
        metrics = RunMetrics.read(path / "metrics.json") if (path / "metrics.json").is_file() else None
        if metrics is None or metrics.scores is None:
            return replace(known, remark="no fold is done")
        done, scores = list(metrics.folds_done), metrics.scores
        return replace(
            known,
            score=_number(scores.oof.kept.score),
            interval=_interval(scores.oof.kept.interval),
            per_fold=tuple(map(_number, scores.per_fold[metrics.kept])),
            optimism=_number(scores.best_minus_last),
            optimistic=scores.oof.kept.optimistic,
            seconds=_seconds(path, done),
            complete=metrics.complete,
            remark="" if metrics.complete else f"{len(done)} of {folds} folds",
        )
    except READ_ERRORS:
        return replace(known, remark="metrics.json cannot be read: give its train.py again")


def _blend_entry(name: str, path: Path, runs: dict[str, LeaderboardEntry]) -> LeaderboardEntry:
    about = read_json(path / "blend.json")
    known = LeaderboardEntry(
        name, path, path / "oof.csv", str(about["folds_sha256"]), str(about["metric"]), bool(about["higher_is_better"])
    )
    try:
        oof, members = about["oof"], [runs.get(run) for run in {member["run"] for member in about["members"]}]
        score = _number(oof["score"])
        sign = 1 if known.higher_is_better else -1
        return replace(
            known,
            score=score,
            interval=_interval(oof["interval"]),
            per_fold=tuple(map(_number, oof["per_fold"])),
            optimism=sign * (_number(oof["naive"]) - score),
            optimistic=bool(about["optimistic"]),
            parameters=_sum_members(members, "parameters"),
            seconds=_sum_members(members, "seconds"),
            complete=bool(about["complete"]),
            remark="" if about["complete"] else "not of every fold",
        )
    except READ_ERRORS:
        return replace(known, remark="blend.json lacks its scores: give its infer.py again")


def _sum_members(members: list[LeaderboardEntry | None], key: str) -> Any:
    values = [member and getattr(member, key) for member in members]
    return None if None in values or not values else sum(values)


def _seconds(path: Path, folds: list[int]) -> float | None:
    try:
        return sum(_number(read_json(path / f"fold{fold}" / "fold.json")["seconds"]) for fold in folds)
    except READ_ERRORS:
        return None


def _interval(value: Any) -> tuple[float, float]:
    low, high = map(_number, value)
    return low, high


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value} is no number")
    return float(value)
