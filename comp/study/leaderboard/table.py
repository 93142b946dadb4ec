"""The leaderboard as text, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from comp.stats import format_p, verdict
from comp.study.leaderboard.entries import LeaderboardEntry
from comp.study.leaderboard.ranking import LeaderboardGroup
from comp.text import format_count, format_duration, format_interval, format_table

COLUMNS = ("OOF", "95 % interval", "best-last", "params", "train time", "vs best", "folds", "name")
LEFT_ALIGNED = (1, 2, 5, 6, 7)


def render(groups: Sequence[LeaderboardGroup]) -> str:
    """Return a table per group under a heading of dataset, metric and split."""
    return "\n\n".join(map(_render_group, groups))


def _render_group(group: LeaderboardGroup) -> str:
    """Return the heading and the table of a group."""
    direction = "higher" if group.higher_is_better else "lower"
    heading = f"{group.dataset}, {group.metric} ({direction} is better), split {group.folds_sha256[:8]}"
    rows = [_row(group, entry) for entry in group.entries]
    return f"{heading}\n{format_table(COLUMNS, rows, LEFT_ALIGNED)}"


def _row(group: LeaderboardGroup, entry: LeaderboardEntry) -> tuple[str, ...]:
    remarks = [remark for remark in ("optimistic" if entry.optimistic else "", entry.remark) if remark]
    return (
        "-" if entry.score is None else f"{entry.score:.4f}",
        "" if entry.interval is None else format_interval(entry.interval, 3),
        _format_optimism(entry),
        "" if entry.parameters is None else format_count(entry.parameters),
        "" if entry.seconds is None else format_duration(entry.seconds),
        _format_test(group, entry),
        " ".join(f"{score:.3f}" for score in entry.per_fold),
        entry.name + (f"  ({'; '.join(remarks)})" if remarks else ""),
    )


def _format_optimism(entry: LeaderboardEntry) -> str:
    if entry.optimism is None:
        return ""
    return f"{entry.optimism:+.4f}" + (" naive" if entry.is_blend else "")


def _format_test(group: LeaderboardGroup, entry: LeaderboardEntry) -> str:
    if entry is group.best:
        return "the best"
    test = group.tests_vs_best.get(entry.name)
    return f"{test.difference:+.4f}  {format_p(test.p)}  {verdict(test.difference, test.p)}" if test else ""


def to_json(groups: Sequence[LeaderboardGroup], warnings: Sequence[str]) -> str:
    """Return all groups and warnings as one JSON object."""
    content = {
        "groups": [
            {
                "dataset": group.dataset,
                "folds_sha256": group.folds_sha256,
                "metric": group.metric,
                "higher_is_better": group.higher_is_better,
                "best": group.best and group.best.name,
                "entries": [_entry_content(group, entry) for entry in group.entries],
            }
            for group in groups
        ],
        "warnings": warnings,
    }
    return json.dumps(content)


def _entry_content(group: LeaderboardGroup, entry: LeaderboardEntry) -> dict[str, object]:
    test = group.tests_vs_best.get(entry.name)
    return {
        "name": entry.name,
        "score": entry.score,
        "interval": entry.interval,
        "per_fold": entry.per_fold,
        "optimism": entry.optimism,
        "optimistic": entry.optimistic,
        "parameters": entry.parameters,
        "seconds": entry.seconds,
        "complete": entry.complete,
        "remark": entry.remark,
        "path": str(entry.path),
        "against_best": test
        and {"difference": test.difference, "p": test.p, "inside_noise": test.inside_noise, "images": test.images},
    }
