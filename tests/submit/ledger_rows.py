"""Events of a ledger, and its lines as text."""

from __future__ import annotations

from comp.submit.ledger_lines import COLUMNS, Event, format_row

FULL = Event(
    "a/b",
    "2025-11-21T10:00:00+00:00",
    "scored",
    "5e",
    competition="cells",
    file="submissions/a/b.csv",
    message='first, "try" ä',
    metric="accuracy",
    cv=0.9812500000000001,
    cv_low=0.97,
    cv_high=0.99,
    public=1 / 3,
    private=0.0,
    rank=1.0,
)
BARE = Event("c", "2025-11-21T11:00:00+00:00", "written")

ROW = {"id": "x", "time": "2025-11-21T10:00:00+00:00", "event": "scored", "metric": "accuracy"}
FULL_ROW = Event("x", ROW["time"], "scored", metric="accuracy")


def row(**cells: str) -> str:
    return format_row([{**ROW, **cells}.get(column, "") for column in COLUMNS])
