"""The trials of a study: their scores, and the score against each key that was searched."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

from comp.figures import GOOD, QUIET, new_figure, style_axis, use_log_scale
from comp.report.section import Figure, Finding, Section
from comp.report.sections.training import read_fold_records
from comp.report.source import Source
from comp.runs import Run
from comp.study.leaderboard.entries import LeaderboardEntry
from comp.text import format_metric

MAX_KEYS = 8  # that are drawn


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
    figures = [_draw_progress(rows, metric, group.higher_is_better)]
    figures += [_draw_key(rows, key, metric) for key in keys[:MAX_KEYS]]
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


def _draw_progress(rows: list[TrialRow], metric: str, higher_is_better: bool) -> Figure:
    by_number = sorted(rows, key=lambda row: row.name)
    scored = [(number, score) for number, row in enumerate(by_number) if (score := _score(row)) is not None]
    figure = new_figure(4.5, 2.8)
    axis = figure.subplots()
    best: list[float] = []
    for _, score in scored:
        best.append(score if not best else (max if higher_is_better else min)(best[-1], score))
    numbers = [number for number, _ in scored]
    axis.step(numbers, best, where="post", color=GOOD, linewidth=1.4, label="best so far")
    axis.plot(numbers, [score for _, score in scored], "o", color=QUIET, markersize=4, label="trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel(format_metric(metric))
    if scored:
        axis.legend()
    style_axis(axis, label="trial", grid="both")
    return Figure("trials", figure, f"Score of each trial (n = {len(scored)} finished of {len(rows)})")


def _draw_key(rows: list[TrialRow], key: str, metric: str) -> Figure:
    points = [(row.values[key], score) for row in rows if (score := _score(row)) is not None]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in points)
    figure = new_figure(4.5, 2.8)
    axis = figure.subplots()
    values = [value if is_number else str(value) for value, _ in points]
    axis.plot(values, [score for _, score in points], "o", color=GOOD, markersize=5, alpha=0.7)
    positive = [value for value in values if isinstance(value, int | float) and value > 0]
    if is_number and points and len(positive) == len(points) and max(positive) > 20 * min(positive):
        use_log_scale(axis, "x")
    axis.set_ylabel(format_metric(metric))
    style_axis(axis, label=key, grid="both")
    name = re.sub(r"[^\w.-]", "-", f"key-{key}")
    return Figure(name, figure, f"Score against {key} (n = {len(points)} trials)")
