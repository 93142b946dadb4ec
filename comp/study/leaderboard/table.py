"""The table, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from comp.stats import format_p, verdict
from comp.study.leaderboard.entries import LeaderboardEntry
from comp.study.leaderboard.ranking import LeaderboardGroup

COLUMNS = ("OOF", "95 %", "best-last", "weights", "trained", "against the best", "folds", "name")


def render(groups: list[LeaderboardGroup]) -> str:
    return "\n\n".join(_render(group) for group in groups)


def _render(group: LeaderboardGroup) -> str:
    better = "higher" if group.higher_is_better else "lower"
    rows = [COLUMNS, *(_row(group, entry) for entry in group.entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    ]
    return "\n".join([f"{group.dataset}, {group.metric} ({better} is better), split {group.folds_sha256[:8]}", *lines])


def _row(group: LeaderboardGroup, entry: LeaderboardEntry) -> tuple[str, ...]:
    remarks = [remark for remark in ("optimistic" if entry.optimistic else "", entry.remark) if remark]
    interval = "" if entry.interval is None else "[{:.3f}, {:.3f}]".format(*entry.interval)
    return (
        "-" if entry.score is None else f"{entry.score:.4f}",
        interval,
        _optimism(entry),
        "" if entry.parameters is None else _count(entry.parameters),
        "" if entry.seconds is None else _time(entry.seconds),
        _against(group, entry),
        " ".join(f"{score:.3f}" for score in entry.per_fold),
        entry.name + (f"  ({'; '.join(remarks)})" if remarks else ""),
    )


def _optimism(entry: LeaderboardEntry) -> str:
    if entry.optimism is None:
        return ""
    return f"{entry.optimism:+.4f}" + (" naive" if entry.name.startswith("blends/") else "")


def _against(group: LeaderboardGroup, entry: LeaderboardEntry) -> str:
    if entry is group.best:
        return "the best"
    found = group.against.get(entry.name)
    if not found:
        return ""
    return f"{found.difference:+.4f}  {format_p(found.p)}  {verdict(found.difference, found.p)}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


def to_json(groups: list[LeaderboardGroup], warnings: list[str]) -> dict[str, Any]:
    return {
        "groups": [
            {
                "dataset": group.dataset,
                "folds_sha256": group.folds_sha256,
                "metric": group.metric,
                "higher_is_better": group.higher_is_better,
                "best": group.best and group.best.name,
                "entries": [_data(group, entry) for entry in group.entries],
            }
            for group in groups
        ],
        "warnings": warnings,
    }


def _data(group: LeaderboardGroup, entry: LeaderboardEntry) -> dict[str, Any]:
    shared = ("folds_sha256", "metric", "higher_is_better", "oof", "path")
    against = group.against.get(entry.name)
    return {
        **{key: value for key, value in asdict(entry).items() if key not in shared},
        "path": str(entry.path),
        "against_best": against and asdict(against),
    }
