"""The trials of a study: their scores, and the score against each key that was searched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from comp.files import file_exists
from comp.records.study import STUDY_FILE, StudyRecord
from comp.report.section import Figure, Finding, Section
from comp.report.sections.training import read_fold_records
from comp.report.source import Source
from comp.runs import RUNS, Run
from comp.study.leaderboard.entries import LeaderboardEntry
from comp.study.plots import MAX_KEYS, TrialPoint, draw_history, draw_importances, draw_key, draw_parallel, file_name
from comp.text import format_metric


@dataclass(frozen=True)
class TrialRow:
    """A trial: its values of the searched keys, and its score if it was finished."""

    name: str
    values: dict[str, Any]
    status: str
    entry: LeaderboardEntry | None


def build(source: Source) -> Section | None:
    if source.kind != "study" or not source.groups:
        return None
    entries = {entry.path: entry for group in source.groups for entry in group.entries}
    keys = _searched_keys(source.runs)
    rows = [
        TrialRow(
            run.path.name, {key: run.config.identity().get(key) for key in keys}, _status(run), entries.get(run.path)
        )
        for run in source.runs
    ]
    group = source.groups[0]
    sign = -1 if group.higher_is_better else 1
    rows.sort(key=lambda row: (math.inf if (score := _score(row)) is None else sign * score, row.name))
    metric = group.metric
    by_number = sorted(rows, key=lambda row: row.name)
    points = [TrialPoint(number, row.values, _score(row)) for number, row in enumerate(by_number)]
    figures = _draw_figures(points, keys, metric, group.higher_is_better, _read_record(source))
    values = {
        "rows": rows,
        "keys": keys,
        "metric": metric,
        "study": source.name,
        "names": [figure.name for figure in figures],
    }
    return Section("Trials", "trials", "study.html", values, tuple(figures), tuple(_findings(rows, metric)))


def _searched_keys(runs: tuple[Run, ...]) -> list[str]:
    """Return the keys whose values differ between the trials."""
    identities = [run.config.identity() for run in runs]
    keys = sorted({key for identity in identities for key in identity})
    return [key for key in keys if len({repr(identity.get(key)) for identity in identities}) > 1]


def _status(run: Run) -> str:
    """Return `pruned` or `failed` if a fold was, `running` if one is, and else `done`."""
    statuses = {record.status for record in read_fold_records(run).values()}
    return next((status for status in ("failed", "pruned", "running") if status in statuses), "done")


def _score(row: TrialRow) -> float | None:
    return row.entry.score if row.entry and row.status == "done" else None


def _findings(rows: list[TrialRow], metric: str) -> list[Finding]:
    best, score = rows[0], _score(rows[0])
    if score is None:
        return [Finding("wrong", "No trial is done", "problem")]
    words = format_metric(metric)
    findings = [
        Finding("good", f"{score:.4f}", "fine", is_headline=True, remark=f"{words} of {best.name}, the best trial"),
        Finding("trust", "The best of many trials is optimistic: compare it on folds that the study did not use"),
    ]
    for status in ("pruned", "failed"):
        if count := sum(row.status == status for row in rows):
            text = f"{count} of {len(rows)} trials were {status}"
            findings.append(Finding("wrong", text, "problem" if status == "failed" else "fine"))
    return findings


def _draw_figures(
    points: list[TrialPoint], keys: list[str], metric: str, higher_is_better: bool, record: StudyRecord | None
) -> list[Figure]:
    finished = sum(point.score is not None for point in points)
    history = draw_history(points, metric, higher_is_better)
    figures = [Figure("trials", history, f"Score of each trial (n = {finished} finished of {len(points)})")]
    if record and record.importances:
        drawing = draw_importances(record.importances)
        figures.append(Figure("importances", drawing, f"Importance of each key by PED-ANOVA (n = {finished} trials)"))
    if finished > 1 and len(keys) > 1:
        drawing = draw_parallel(points, keys, metric, higher_is_better)
        figures.append(Figure("parallel", drawing, f"Each finished trial, the best quarter in colour (n = {finished})"))
    for key in keys[:MAX_KEYS]:
        drawing = draw_key(points, key, metric)
        figures.append(Figure(file_name(f"key-{key}"), drawing, f"Score against {key} (n = {finished} trials)"))
    return figures


def _read_record(source: Source) -> StudyRecord | None:
    """Return study.json; None of a study of an earlier version."""
    file = RUNS / source.name / STUDY_FILE
    return StudyRecord.read(file) if file_exists(file) else None
