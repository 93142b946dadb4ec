"""Every submission written, sent and scored: a line per event, and no line is ever changed.

    id,time,event,competition,file,sha256,message,metric,cv,cv_low,cv_high,public,private,rank

Git merges it as a union (.gitattributes), so what two people noted apart comes together. What is known of a submission
is therefore never one line but all lines of its id: `latest`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from comp.errors import UserError
from comp.files import write_atomic

EVENT_KINDS = ("written", "sent", "scored")
NUMERIC_COLUMNS = ("cv", "cv_low", "cv_high", "public", "private", "rank")
LOCK_TIMEOUT = 60  # seconds for a lock that is held for milliseconds


@dataclass(frozen=True, kw_only=True)
class LedgerFields:
    """What is said of a submission; what is not known stays empty."""

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


LEDGER_FIELDS = tuple(field.name for field in fields(LedgerFields))
COLUMNS = ("id", "time", "event", "competition", "file", "sha256", *LEDGER_FIELDS[2:])


@dataclass(frozen=True)
class Event(LedgerFields):
    """One line."""

    id: str
    time: str  # ISO 8601; without an offset it is UTC
    event: str  # one of KINDS
    sha256: str = ""  # of the file's bytes at that moment


@dataclass(frozen=True)
class LedgerEntry(LedgerFields):
    """What is known of an id, all of one content: of the one sent last, or where none was sent, written last."""

    id: str
    written: str | None = None  # when last, or None: never
    sent: str | None = None
    scored: str | None = None
    written_sha256: str = ""  # of what was written last, which may be another content than
    sent_sha256: str = ""  # what was sent last


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def append(path: Path, *events: Event) -> None:
    """Add events, all or none. It returns when they are on the disk; killed before, the old file is as it was."""
    lines = [_render(event) for event in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT):
            old = (path.read_bytes() if path.exists() else b"") or _row(COLUMNS).encode()
            ended = old if old.endswith(b"\n") else old + b"\n"
            write_atomic(path, ended + "".join(lines).encode())
    except Timeout:
        raise UserError(f"another process has held {path} for {LOCK_TIMEOUT} s; stop it and try again") from None


def read(path: Path) -> list[Event]:
    """Events by time, each once. A ledger that is not there is empty; headers and blank lines may be anywhere."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; restore it, from git say") from None
    header = _row(COLUMNS).rstrip("\n")
    found: dict[Event, None] = {}
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r")
        if text.strip() and text != header:
            try:
                found[_parse(text)] = None
            except (ValueError, csv.Error) as problem:
                raise UserError(f"{path}, line {number} is no event ({problem}); mend or delete that line") from None
    return sorted(found, key=lambda event: parse_time(event.time))


def parse_time(time: str) -> datetime:
    """A time of the ledger, comparable with every other."""
    read = datetime.fromisoformat(time)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def latest_entries(events: Iterable[Event]) -> dict[str, LedgerEntry]:
    """The last known value of every column, by id, in the order of each id's first event."""
    return {entry.id: entry for entry in entries_by_content(events)}


def entries_by_content(events: Iterable[Event]) -> list[LedgerEntry]:
    """The same of every content that was sent: two people may have given one name to two. The later one comes later."""
    by_id: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: parse_time(event.time)):
        by_id.setdefault(event.id, []).append(event)
    return [_entry(id, known, content) for id, known in by_id.items() for content in _sent(known) or [""]]


def _sent(events: Sequence[Event]) -> list[str]:
    """Hashes, the one that was sent last last."""
    hashes = [event.sha256 for event in events if event.event == "sent"][::-1]
    return list(dict.fromkeys(hashes))[::-1]


def _entry(id: str, events: Sequence[Event], sent: str) -> LedgerEntry:
    written = _last_value((event for event in events if event.event == "written"), "sha256") or ""
    content = sent or written  # a score belongs to the content that was sent
    own = [event for event in events if not content or event.sha256 in ("", content)]
    values = {name: _last_value(own, name) for name in LEDGER_FIELDS}
    times = {kind: _last_value((event for event in own if event.event == kind), "time") for kind in EVENT_KINDS}
    texts = {name: value or "" for name, value in values.items() if name not in NUMERIC_COLUMNS}
    return LedgerEntry(id, **values | texts, **times, written_sha256=written, sent_sha256=sent)


def _last_value(events: Iterable[Event], name: str) -> str | float | None:
    known = [value for event in events if (value := getattr(event, name)) not in ("", None)]
    return known[-1] if known else None


def _render(event: Event) -> str:
    """One line, whatever a message holds: a union merge works line by line, so none may be torn in two."""
    values = [getattr(event, name) for name in COLUMNS]
    line = _row(
        ""
        if value is None
        else repr(float(value)).removesuffix(".0")
        if name in NUMERIC_COLUMNS
        else re.sub(r"[\r\n]+", " ", value)
        for name, value in zip(COLUMNS, values, strict=True)
    )
    try:
        _parse(line.rstrip("\n"))
    except ValueError as problem:
        raise UserError(f"this cannot be noted of {event.id!r}: {problem}") from None
    return line


def _row(values: Iterable[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _parse(line: str) -> Event:
    rows = list(csv.reader([line], strict=True))
    values = dict(zip(COLUMNS, rows[0], strict=False))
    if len(rows[0]) != len(COLUMNS):
        raise ValueError(f"{len(rows[0])} columns instead of {len(COLUMNS)}")
    if not values["id"] or values["event"] not in EVENT_KINDS:
        raise ValueError(f"an event is an id that was {', '.join(EVENT_KINDS)}")
    parse_time(values["time"])
    numbers = {name: float(values[name]) if values[name] else None for name in NUMERIC_COLUMNS}
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{name} is {values[name]}")
    return Event(**values | numbers)
