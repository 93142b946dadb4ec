"""The state of a submission is that of all its lines: the last value of each column, for the content that was sent."""

from __future__ import annotations

import random

from comp.submit.ledger import LedgerEntry, entries_by_content, latest_entries
from comp.submit.ledger_lines import Event


def at(hour: int, event: str, **fields) -> Event:
    return Event("x", f"2025-11-21T{hour:02}:00:00+00:00", event, **fields)


def test_latest_entries_last_value_of_each_column_counts():
    events = [
        at(1, "written", sha256="1", cv=0.9, file="submissions/x.csv"),
        at(2, "sent", sha256="1", message="a"),
        at(3, "scored", sha256="1", public=0.8),
        at(4, "scored", sha256="1", public=0.81, rank=3),
    ]
    random.Random(0).shuffle(events)
    assert latest_entries(events) == {
        "x": LedgerEntry(
            "x",
            file="submissions/x.csv",
            message="a",
            cv=0.9,
            public=0.81,
            rank=3,
            written=at(1, "sent").time,
            sent=at(2, "sent").time,
            scored=at(4, "sent").time,
            written_sha256="1",
            sent_sha256="1",
        )
    }


def test_latest_entries_compares_times_across_offsets():
    early, late = "2025-11-21T12:00:00+09:00", "2025-11-21T04:00:00"  # 03:00 and 04:00 UTC
    assert (
        latest_entries([Event("x", late, "scored", public=2), Event("x", early, "scored", public=1)])["x"].public == 2
    )


def test_latest_entries_score_belongs_to_sent_content():
    events = [
        at(1, "written", sha256="1", cv=0.9),
        at(2, "written", sha256="2", cv=0.5),
        at(3, "sent", sha256="1"),
        at(4, "scored", sha256="1", public=0.8),
    ]
    entry = latest_entries(events)["x"]
    assert (entry.cv, entry.public, entry.sent_sha256, entry.written_sha256) == (0.9, 0.8, "1", "2")


def test_latest_entries_overwritten_file_loses_old_score():
    entry = latest_entries([at(1, "written", sha256="1", cv=0.9), at(2, "written", sha256="2")])["x"]
    assert (entry.cv, entry.written) == (None, "2025-11-21T02:00:00+00:00")


def test_entries_by_content_the_content_sent_last_is_the_last_entry():
    """Three files were sent under one name, and the first of them once more."""
    events = [
        at(1, "sent", sha256="1"),
        at(2, "sent", sha256="2"),
        at(3, "scored", sha256="2", public=0.7),
        at(4, "sent", sha256="3"),
        at(5, "sent", sha256="1"),
        at(6, "scored", sha256="1", public=0.9),
    ]
    entries = entries_by_content(events)
    assert [(entry.sent_sha256, entry.public) for entry in entries] == [("2", 0.7), ("3", None), ("1", 0.9)]
    assert [entry.sent for entry in entries] == [at(hour, "sent").time for hour in (2, 4, 5)]
    assert latest_entries(events)["x"] == entries[-1]


def test_entries_by_content_event_without_a_hash_belongs_to_every_content():
    events = [at(1, "sent", sha256="1"), at(2, "sent", sha256="2"), at(3, "scored", public=0.9, message="by hand")]
    assert [(entry.public, entry.message) for entry in entries_by_content(events)] == [(0.9, "by hand")] * 2


def test_latest_entries_score_alone_is_an_entry_that_was_never_sent():
    [entry] = latest_entries([at(1, "scored", sha256="1", public=0.9)]).values()
    assert (entry.public, entry.sent, entry.written) == (0.9, None, None)
    assert entry.sent_sha256 == entry.written_sha256 == ""
