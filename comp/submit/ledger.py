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
from comp.tables import write_atomic

KINDS = ("written", "sent", "scored")
NUMBERS = ("cv", "cv_low", "cv_high", "public", "private", "rank")
PATIENCE = 60  # seconds for a lock that is held for milliseconds


@dataclass(frozen=True, kw_only=True)
class Facts:
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


FACTS = tuple(field.name for field in fields(Facts))
COLUMNS = ("id", "time", "event", "competition", "file", "sha256", *FACTS[2:])


@dataclass(frozen=True)
class Event(Facts):
    """One line."""
    id: str
    time: str                      # ISO 8601; without an offset it is UTC
    event: str                     # one of KINDS
    sha256: str = ""               # of the file's bytes at that moment


@dataclass(frozen=True)
class Entry(Facts):
    """What is known of an id, all of one content: of the one sent last, or where none was sent, written last."""
    id: str
    written: str | None = None     # when last, or None: never
    sent: str | None = None
    scored: str | None = None
    written_sha256: str = ""       # of what was written last, which may be another content than
    sent_sha256: str = ""          # what was sent last


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def append(path: Path, *events: Event) -> None:
    """Add events, all or none. It returns when they are on the disk; killed before, the old file is as it was."""
    lines = [_render(event) for event in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE):
            old = (path.read_bytes() if path.exists() else b"") or _row(COLUMNS).encode()
            ended = old if old.endswith(b"\n") else old + b"\n"
            write_atomic(path, ended + "".join(lines).encode())
    except Timeout:
        raise UserError(f"another process has held {path} for {PATIENCE} s; stop it and try again") from None


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
    return sorted(found, key=lambda event: moment(event.time))


def moment(time: str) -> datetime:
    """A time of the ledger, comparable with every other."""
    read = datetime.fromisoformat(time)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def latest(events: Iterable[Event]) -> dict[str, Entry]:
    """The last known value of every column, by id, in the order of each id's first event."""
    return {entry.id: entry for entry in contents(events)}


def contents(events: Iterable[Event]) -> list[Entry]:
    """The same of every content that was sent: two people may have given one name to two. The later one comes later."""
    by_id: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: moment(event.time)):
        by_id.setdefault(event.id, []).append(event)
    return [_entry(id, known, content) for id, known in by_id.items() for content in _sent(known) or [""]]


def _sent(events: Sequence[Event]) -> list[str]:
    """Hashes, the one that was sent last last."""
    hashes = [event.sha256 for event in events if event.event == "sent"][::-1]
    return list(dict.fromkeys(hashes))[::-1]


def _entry(id: str, events: Sequence[Event], sent: str) -> Entry:
    written = _last((event for event in events if event.event == "written"), "sha256") or ""
    content = sent or written  # a score belongs to the content that was sent
    own = [event for event in events if not content or event.sha256 in ("", content)]
    values = {name: _last(own, name) for name in FACTS}
    times = {kind: _last((event for event in own if event.event == kind), "time") for kind in KINDS}
    texts = {name: value or "" for name, value in values.items() if name not in NUMBERS}
    return Entry(id, **values | texts, **times, written_sha256=written, sent_sha256=sent)


def _last(events: Iterable[Event], name: str) -> str | float | None:
    known = [value for event in events if (value := getattr(event, name)) not in ("", None)]
    return known[-1] if known else None


def _render(event: Event) -> str:
    """One line, whatever a message holds: a union merge works line by line, so none may be torn in two."""
    values = [getattr(event, name) for name in COLUMNS]
    line = _row("" if value is None else repr(float(value)).removesuffix(".0") if name in NUMBERS
                else re.sub(r"[\r\n]+", " ", value) for name, value in zip(COLUMNS, values, strict=True))
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
    if not values["id"] or values["event"] not in KINDS:
        raise ValueError(f"an event is an id that was {', '.join(KINDS)}")
    moment(values["time"])
    numbers = {name: float(values[name]) if values[name] else None for name in NUMBERS}
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{name} is {values[name]}")
    return Event(**values | numbers)
