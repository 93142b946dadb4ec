"""The ledger: a CSV with a line for every submission written, sent or scored. No line is ever changed.

    id,time,event,competition,file,sha256,message,metric,cv,cv_low,cv_high,public,private,rank

Git merges it as a union (.gitattributes), so that the lines of two people come together. The state of a submission is
therefore never one line but all lines of its id: see `latest_entries`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from comp.errors import UserError
from comp.files import MissingFileError, read_bytes, write_atomic
from comp.progress_bar import progress_bar
from comp.records.run import describe_unlabelled
from comp.records.submission import SubmissionManifest
from comp.submit.ledger_lines import (
    COLUMNS,
    EVENT_KINDS,
    HEADER,
    NUMERIC_COLUMNS,
    TEXT_COLUMNS,
    Event,
    LedgerFields,
    check_scores,
    format_line,
    parse_line,
    parse_time,
)

LOCK_TIMEOUT = 60  # seconds; the lock is held for milliseconds only
MAX_BYTES = 2**26  # 64 MiB, some 200,000 events


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


def make_event(
    kind: str, *, id: str, sha256: str, file: Path, competition: str, manifest: SubmissionManifest | None
) -> Event:
    """Return an event of a submission that happens now: its CV and what its models saw, both from its manifest."""
    oof = manifest.oof if manifest else None
    low, high = oof.interval if oof else (None, None)
    return Event(
        id,
        utc_now(),
        kind,
        sha256,
        competition=competition,
        file=file.as_posix(),
        message=describe_unlabelled(manifest.unlabelled_images) if manifest else "",
        metric=oof.metric if oof else "",
        cv=oof.score if oof else None,
        cv_low=low,
        cv_high=high,
    )


def append(path: Path, *events: Event) -> None:
    """Append events to the ledger atomically, and return when they are on the disk.

    A lock serialises concurrent writers. A killed process leaves either all of its events or none.
    """
    lines = [format_line(event) for event in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT):
            content = _read_bytes(path) or f"{HEADER}\n".encode()
            content = content if content.endswith(b"\n") else content + b"\n"
            write_atomic(path, content + "".join(lines).encode())
    except Timeout:
        raise UserError(f"another process has locked {path} for {LOCK_TIMEOUT} s; stop it and run again") from None


def read(path: Path, metric: str = "") -> list[Event]:
    """Return the events in order of time, each once. A missing ledger is empty.

    Headers and blank lines may be anywhere: merges leave them. `metric` is the one of the scores whose submission
    names none; it decides their range.
    """
    events: dict[Event, int] = {}  # event -> number of its line
    lines = re.split("\r\n|\n|\r", _decode(path, _read_bytes(path)))
    for line_number, line in enumerate(progress_bar(lines, path.name, delay=2), 1):
        try:
            event = parse_line(line)
        except ValueError as error:
            raise _line_error(path, line_number, str(error)) from None
        if event is not None:
            events.setdefault(event, line_number)
    metrics = {event.id: event.metric for event in events if event.metric}
    for event, line_number in events.items():
        try:
            check_scores(event, event.metric or metrics.get(event.id, metric))
        except ValueError as error:
            raise _line_error(path, line_number, str(error)) from None
    return sorted(events, key=lambda event: parse_time(event.time))


def _read_bytes(path: Path) -> bytes:
    """Return the content of the ledger, which is empty if there is none."""
    try:
        return read_bytes(path, MAX_BYTES)
    except MissingFileError:
        return b""


def _decode(path: Path, content: bytes) -> str:
    """Return the text of the ledger; a UserError names the column with a character of another encoding."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        start = max(before.rfind("\n"), before.rfind("\r")) + 1
        number = len(re.findall("\r\n|\n|\r", before)) + 1
        fields = next(csv.reader([before[start:]]), [])
        column = COLUMNS[min(max(len(fields), 1), len(COLUMNS)) - 1]
        raise UserError(
            f"{path}, line {number}, column {column}: it is not UTF-8 text; save the file as UTF-8, or restore it, for "
            f"example from git"
        ) from None


def _line_error(path: Path, line_number: int, problem: str) -> UserError:
    return UserError(f"{path}, line {line_number} is not an event ({problem}); fix or delete that line")


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
