"""The ledger: a CSV with a line for every submission written, sent or scored. No line is ever changed.

    id,time,event,competition,file,sha256,message,metric,cv,cv_low,cv_high,public,private,rank

Git merges it as a union (.gitattributes), so that the lines of two people come together. The state of a submission is
therefore never one line but all lines of its id: see `latest_entries`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from comp.errors import UserError
from comp.files import write_atomic
from comp.records.blend import OofSummary

EVENT_KINDS = ("written", "sent", "scored")
TEXT_COLUMNS = ("competition", "file", "message", "metric")
NUMERIC_COLUMNS = ("cv", "cv_low", "cv_high", "public", "private", "rank")
LOCK_TIMEOUT = 60  # seconds; the lock is held for milliseconds only


@dataclass(frozen=True, kw_only=True)
class LedgerFields:
    """The columns that describe a submission. Unknown texts are empty, unknown numbers None."""

    competition: str = ""
    file: str = ""
    message: str = ""
    metric: str = ""
    cv: float | None = None
    cv_low: float | None = None
    cv_high: float | None = None
    public: float | None = None
    private: float | None = None
    rank: float | None = None


COLUMNS = ("id", "time", "event", "competition", "file", "sha256", "message", "metric", *NUMERIC_COLUMNS)


@dataclass(frozen=True)
class Event(LedgerFields):
    """A line of the ledger."""

    id: str
    time: str  # ISO 8601; without an offset it is UTC
    event: str  # one of EVENT_KINDS
    sha256: str = ""  # hash of the file's bytes at that time


@dataclass(frozen=True)
class LedgerEntry(LedgerFields):
    """The latest values of one submission, given by id and content.

    The content is the one sent last, or if none was sent, the one written last.
    """

    id: str
    written: str | None = None  # the time of the last such event; None: never
    sent: str | None = None
    scored: str | None = None
    written_sha256: str = ""  # hash of the content written last
    sent_sha256: str = ""  # hash of the content sent last; it may differ from written_sha256


def utc_now() -> str:
    """Return the present time as the ledger stores it, in seconds: 2026-11-21T12:57:55+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_event(kind: str, *, id: str, sha256: str, file: Path, competition: str, oof: OofSummary | None) -> Event:
    """Return an event of a submission that happens now, with its out-of-fold score as CV."""
    low, high = oof.interval if oof else (None, None)
    return Event(
        id,
        utc_now(),
        kind,
        sha256,
        competition=competition,
        file=file.as_posix(),
        metric=oof.metric if oof else "",
        cv=oof.score if oof else None,
        cv_low=low,
        cv_high=high,
    )


def append(path: Path, *events: Event) -> None:
    """Append events to the ledger atomically, and return when they are on the disk.

    A lock serialises concurrent writers. A killed process leaves either all of its events or none.
    """
    lines = [_format_line(event) for event in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT):
            content = (path.read_bytes() if path.exists() else b"") or _format_row(COLUMNS).encode()
            content = content if content.endswith(b"\n") else content + b"\n"
            write_atomic(path, content + "".join(lines).encode())
    except Timeout:
        raise UserError(f"another process has locked {path} for {LOCK_TIMEOUT} s; stop it and run again") from None


def read(path: Path) -> list[Event]:
    """Return the events in order of time, each once. A missing ledger is empty.

    Headers and blank lines may be anywhere: merges leave them.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; restore it, for example from git") from None
    header = _format_row(COLUMNS).rstrip("\n")
    events: dict[Event, None] = {}
    for line_number, line in enumerate(lines, 1):
        text = line.rstrip("\r")
        if text.strip() and text != header:
            try:
                events[_parse_line(text)] = None
            except (ValueError, csv.Error) as error:
                raise UserError(
                    f"{path}, line {line_number} is not an event ({error}); fix or delete that line"
                ) from None
    return sorted(events, key=lambda event: parse_time(event.time))


def parse_time(text: str) -> datetime:
    """Return a time of the ledger with its offset, so that all times can be compared."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def latest_entries(events: Iterable[Event]) -> dict[str, LedgerEntry]:
    """Return the entry of each id, with the last known value of every column, in the order of the ids' first events."""
    return {entry.id: entry for entry in entries_by_content(events)}


def entries_by_content(events: Iterable[Event]) -> list[LedgerEntry]:
    """Return one entry per id and submitted content, oldest first (two people may have used one id for two files)."""
    by_id: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: parse_time(event.time)):
        by_id.setdefault(event.id, []).append(event)
    return [_make_entry(id, group, sent) for id, group in by_id.items() for sent in _sent_hashes(group) or [""]]


def _sent_hashes(events: Sequence[Event]) -> list[str]:
    """Return the hashes that were sent, each once, in the order of their last sending."""
    newest_first = [event.sha256 for event in events if event.event == "sent"][::-1]
    return list(dict.fromkeys(newest_first))[::-1]


def _make_entry(id: str, events: Sequence[Event], sent: str) -> LedgerEntry:
    """Return the entry of the content with the hash `sent`; if that is empty, of the content written last."""
    written = _last_text((event for event in events if event.event == "written"), "sha256")
    content = sent or written  # a score belongs to the content that was sent
    of_content = [event for event in events if not content or event.sha256 in ("", content)]
    times = {
        kind: _last_text((event for event in of_content if event.event == kind), "time") or None for kind in EVENT_KINDS
    }
    fields: dict[str, Any] = {column: _last_text(of_content, column) for column in TEXT_COLUMNS}
    fields |= {column: _last_number(of_content, column) for column in NUMERIC_COLUMNS}
    return LedgerEntry(
        id,
        written=times["written"],
        sent=times["sent"],
        scored=times["scored"],
        written_sha256=written,
        sent_sha256=sent,
        **fields,
    )


def _last_text(events: Iterable[Event], column: str) -> str:
    texts = [text for event in events if (text := getattr(event, column))]
    return texts[-1] if texts else ""


def _last_number(events: Iterable[Event], column: str) -> float | None:
    numbers = [number for event in events if (number := getattr(event, column)) is not None]
    return numbers[-1] if numbers else None


def _format_line(event: Event) -> str:
    """Return an event as exactly one line, even if its message has line breaks, because Git merges line by line."""
    line = _format_row(_format_value(name, getattr(event, name)) for name in COLUMNS)
    try:
        _parse_line(line.rstrip("\n"))
    except ValueError as error:
        raise UserError(f"the ledger cannot record this event of {event.id!r}: {error}") from None
    return line


def _format_value(column: str, value: str | float | None) -> str:
    if value is None:
        return ""
    if column in NUMERIC_COLUMNS:
        return repr(float(value)).removesuffix(".0")
    return re.sub(r"[\r\n]+", " ", str(value))


def _format_row(values: Iterable[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _parse_line(line: str) -> Event:
    """Return the event of a ledger line; a ValueError states what is wrong with it."""
    row = next(iter(csv.reader([line], strict=True)))
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} columns instead of {len(COLUMNS)}")
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    if not values["id"] or values["event"] not in EVENT_KINDS:
        raise ValueError(f"an event needs an id and one of {', '.join(EVENT_KINDS)}")
    parse_time(values["time"])
    numbers = {column: _parse_number(values, column) for column in NUMERIC_COLUMNS}
    return Event(**{**values, **numbers})


def _parse_number(values: Mapping[str, str], column: str) -> float | None:
    if not values[column]:
        return None
    number = float(values[column])
    if not math.isfinite(number):
        raise ValueError(f"{column} is {values[column]}")
    return number
