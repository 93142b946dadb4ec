"""The leaderboard as text, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from comp import config as configs
from comp.study.leaderboard.entries import READ_ERRORS, LeaderboardEntry
from comp.study.leaderboard.ranking import LeaderboardGroup
from comp.text import format_count, format_duration, format_interval, format_table

COLUMNS = ("OOF", "95 % interval", "best-last", "params", "train time", "vs best", "folds", "name")
LEFT_ALIGNED = (1, 2, 5, 6, 7)


def render(groups: Sequence[LeaderboardGroup]) -> str:
    """Return a table per group under a heading of dataset, metric and split."""
    return "\n\n".join(
        f"{_heading(group)}\n{format_table(COLUMNS, [_row(group, entry) for entry in group.entries], LEFT_ALIGNED)}"
        for group in groups
    )


def render_experiments(group: LeaderboardGroup) -> str:
    """Return a table of the entries compared with the reference, with the config keys that each changes."""
    assert group.reference is not None, "the entries are compared with one of them"
    columns = ("OOF", "difference [95 %], paired", "images", "train time", "name", "change")
    base, rows = _identity(group.reference), []
    for entry in group.entries:
        test = group.tests.get(entry.name)
        score, time = _format_score(entry), _format_time(entry)
        if entry is group.reference:
            rows.append((score, "the reference", "", time, _format_name(entry), ""))
        else:
            texts = (str(test), str(test.images)) if test else ("not comparable", "")
            rows.append((score, *texts, time, _format_name(entry), _format_change(base, _identity(entry))))
    return f"{_heading(group)}\n{format_table(columns, rows, left=(1, 4, 5))}"


def _identity(entry: LeaderboardEntry) -> dict[str, Any] | None:
    """Return the flat config of a run, or None for a blend and where it cannot be read."""
    try:
        return None if entry.is_blend else configs.load(entry.path / "config.yaml")[0].identity()
    except READ_ERRORS:
        return None


def _format_change(base: dict[str, Any] | None, config: dict[str, Any] | None) -> str:
    """Return the keys that a config sets otherwise than the base, as overrides."""
    if base is None or config is None:
        return ""
    keys = [key for key in {**base, **config} if base.get(key) != config.get(key)]
    return " ".join(f"{key}={json.dumps(config.get(key))}" for key in keys)


def _heading(group: LeaderboardGroup) -> str:
    direction = "higher" if group.higher_is_better else "lower"
    return f"{group.dataset}, {group.metric} ({direction} is better), split {group.folds_sha256[:8]}"


def _row(group: LeaderboardGroup, entry: LeaderboardEntry) -> tuple[str, ...]:
    return (
        _format_score(entry),
        "" if entry.interval is None else format_interval(entry.interval, 3),
        _format_optimism(entry),
        "" if entry.parameters is None else format_count(entry.parameters),
        _format_time(entry),
        _format_test(group, entry),
        " ".join(f"{score:.3f}" for score in entry.per_fold),
        _format_name(entry),
    )


def _format_score(entry: LeaderboardEntry) -> str:
    return "-" if entry.score is None else f"{entry.score:.4f}"


def _format_time(entry: LeaderboardEntry) -> str:
    return "" if entry.seconds is None else format_duration(entry.seconds)


def _format_name(entry: LeaderboardEntry) -> str:
    remarks = [remark for remark in ("optimistic" if entry.optimistic else "", entry.remark) if remark]
    return entry.name + (f"  ({'; '.join(remarks)})" if remarks else "")


def _format_optimism(entry: LeaderboardEntry) -> str:
    if entry.optimism is None:
        return ""
    return f"{entry.optimism:+.4f}" + (" naive" if entry.is_blend else "")


def _format_test(group: LeaderboardGroup, entry: LeaderboardEntry) -> str:
    if entry is group.best:
        return "the best"
    test = group.tests.get(entry.name)
    return str(test) if test else ""


def to_json(groups: Sequence[LeaderboardGroup], warnings: Sequence[str], tests: str) -> str:
    """Return all groups and warnings as one JSON object; `tests` names the key of an entry's paired test."""
    content = {
        "groups": [
            {
                "dataset": group.dataset,
                "folds_sha256": group.folds_sha256,
                "metric": group.metric,
                "higher_is_better": group.higher_is_better,
                "best": group.best and group.best.name,
                "entries": [_entry_content(group, entry, tests) for entry in group.entries],
            }
            for group in groups
        ],
        "warnings": warnings,
    }
    return json.dumps(content)


def _entry_content(group: LeaderboardGroup, entry: LeaderboardEntry, tests: str) -> dict[str, object]:
    test = group.tests.get(entry.name)
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
        tests: test
        and {
            "difference": test.difference,
            "interval": test.interval,
            "p": test.p,
            "inside_noise": test.inside_noise,
            "images": test.images,
        },
    }
