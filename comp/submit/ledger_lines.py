"""A line of the ledger: one event of a submission, checked column by column, for people edit the file by hand."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from comp.errors import UserError, did_you_mean
from comp.metrics import METRICS

EVENT_KINDS = ("written", "sent", "scored")
TEXT_COLUMNS = ("competition", "file", "message", "metric")
SCORE_COLUMNS = ("cv", "cv_low", "cv_high", "public", "private")
NUMERIC_COLUMNS = (*SCORE_COLUMNS, "rank")
COLUMNS = ("id", "time", "event", "competition", "file", "sha256", "message", "metric", *NUMERIC_COLUMNS)
HEADER = ",".join(COLUMNS)

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab
FIRST_YEAR = 2000
CLOCK_DIFFERENCE = timedelta(days=1)  # between two machines, and of local times written without their offset
MAX_TEXT, MAX_NAME = 4096, 255  # characters of a column, bytes of a file name: the system allows no longer ones
MAX_LOG_LOSS = 35  # of a probability of 1e-15, where Kaggle clips


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


@dataclass(frozen=True)
class Event(LedgerFields):
    """A line of the ledger."""

    id: str
    time: str  # ISO 8601; without an offset it is UTC
    event: str  # one of EVENT_KINDS
    sha256: str = ""  # hash of the file's bytes at that time


def parse_time(text: str) -> datetime:
    """Return a time of the ledger with its offset, so that all times can be compared."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def format_line(event: Event) -> str:
    """Return an event as exactly one line, even if its message has line breaks, because Git merges line by line."""
    line = format_row(_format_value(name, getattr(event, name)) for name in COLUMNS)
    try:
        parse_line(line.rstrip("\n"))
        check_scores(event, event.metric)
    except ValueError as error:
        raise UserError(f"the ledger cannot record this event of {event.id!r}: {error}") from None
    return line


def format_row(values: Iterable[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def parse_line(line: str) -> Event | None:
    """Return the event of a line, None for a header or a blank line; a ValueError says which column is wrong, and how.

    The scores are not compared with the range of their metric, which another line of the same id may name.
    """
    if line.startswith(("<<<<<<<", "|||||||", "=======", ">>>>>>>")):
        raise ValueError("a merge conflict: keep the events of both sides, without this line")
    try:
        line = line.removeprefix("\ufeff")  # of a file that was appended to another
        row = [field.strip() for field in next(iter(csv.reader([line], strict=True)), [])]
    except csv.Error as error:
        raise ValueError(f"its quotes are broken: {error}") from None
    if not any(row) or tuple(row) == COLUMNS:
        return None
    _check_fields(line, row)
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    _check_texts(values)
    _check_time(values["time"])
    values |= {column: _parse_number(values, column) for column in NUMERIC_COLUMNS}
    _check_numbers(values)
    return Event(**values)


def check_scores(event: Event, metric: str) -> None:
    """Raise a ValueError if a score of the event cannot be one of `metric`."""
    for column in SCORE_COLUMNS:
        score = getattr(event, column)
        if score is not None and (problem := score_problem(metric, score)):
            raise ValueError(f"column {column}: it is {score:g}, and {problem}")


def score_problem(metric: str, score: float) -> str | None:
    """Return why a score cannot be one of `metric`, or None: 98.4 instead of 0.984 would win every comparison.

    Of an unknown metric, a score may be any number: it may be the user's own.
    """
    if metric and metric not in METRICS:
        return None
    smallest, largest = METRICS[metric].score_range if metric else (0.0, MAX_LOG_LOSS)
    largest = MAX_LOG_LOSS if metric == "log_loss" else largest
    if smallest <= score <= largest:
        return None
    advice = f": write {score / 100:.6g}" if 1 < score <= 100 and (largest == 1 or not metric) else ""
    return f"{metric or 'a score'} is between {smallest:g} and {largest:g}{advice}"


def _format_value(column: str, value: str | float | None) -> str:
    if value is None:
        return ""
    if column in NUMERIC_COLUMNS:
        return repr(float(value)).removesuffix(".0")
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", str(value)).strip()
    return text[:MAX_TEXT] if column == "message" else text


def _check_fields(line: str, row: list[str]) -> None:
    """Raise a ValueError unless the row has a field for each column."""
    if len(set(row) & set(COLUMNS)) > len(COLUMNS) / 2:
        wrong = next((name for name, right in zip(row, COLUMNS, strict=False) if name != right), row[-1])
        raise ValueError(f"column {wrong[:40]}: the header must be {HEADER}, in this order")
    if len(row) == len(COLUMNS):
        return
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if line.count(separator) >= len(COLUMNS) - 1:
            raise ValueError(f"{name} are between its columns: save it as CSV with commas")
    if len(row) > len(COLUMNS):
        raise ValueError(f"{len(row):,} columns instead of {len(COLUMNS)}; a text with a comma needs quotes")
    raise ValueError(f"{len(row)} columns instead of {len(COLUMNS)}; it ends in column {COLUMNS[len(row) - 1]}")


def _check_texts(values: Mapping[str, str]) -> None:
    """Raise a ValueError for a text that no program has written."""
    for column in COLUMNS:
        value = values[column]
        if CONTROL.search(value):
            raise ValueError(f"column {column}: it has the character {CONTROL.search(value)[0]!r}")  # type: ignore[index]
        if len(value) > MAX_TEXT:
            raise ValueError(f"column {column}: it has {len(value):,} characters, more than {MAX_TEXT:,}")
        if not value.isascii() and value.encode(errors="replace").decode() != value:
            raise ValueError(f"column {column}: it is not UTF-8 text")
    for column in ("id", "time", "event"):
        if not values[column]:
            raise ValueError(f"column {column}: it is empty")
    if values["event"] not in EVENT_KINDS:
        raise ValueError(f"column event: {values['event'][:40]!r} is not one of {', '.join(EVENT_KINDS)}")
    if values["metric"] and values["metric"] not in METRICS and ".py:" not in values["metric"]:
        hint = did_you_mean(values["metric"], METRICS)
        raise ValueError(f"column metric: there is no metric {values['metric'][:40]!r}{hint}")
    path = Path(values["file"])
    if values["file"] and (path.name in ("", "..") or max(len(part.encode()) for part in path.parts) > MAX_NAME):
        raise ValueError(f"column file: {values['file'][:40]!r} names no file")


def _check_time(text: str) -> None:
    try:
        time = parse_time(text)
    except ValueError:
        raise ValueError(f"column time: {text[:40]!r} is not a time such as 2026-11-21T12:57:55+00:00") from None
    now = datetime.now(UTC)
    if time.year < FIRST_YEAR:
        raise ValueError(f"column time: {text[:40]} is before {FIRST_YEAR}")
    if time > now + CLOCK_DIFFERENCE:  # it would be the latest for ever
        raise ValueError(f"column time: {text[:40]} is in the future, for it is {now:%Y-%m-%dT%H:%M} UTC")


def _parse_number(values: Mapping[str, str], column: str) -> float | None:
    text = values[column]
    if not text:
        return None
    if not NUMBER.fullmatch(text):
        advice = text.rstrip("%").replace(",", ".")
        hint = f"; write {advice}, with a point" if "," in text and NUMBER.fullmatch(advice) else ""
        raise ValueError(f"column {column}: {text[:40]!r} is not a number{hint}")
    if not math.isfinite(number := float(text)):
        raise ValueError(f"column {column}: {text[:40]} is too large")
    return number


def _check_numbers(values: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the interval of CV has two ends in order, and the rank is a place."""
    low, high, rank = values["cv_low"], values["cv_high"], values["rank"]
    if (low is None) != (high is None):
        column, other = ("cv_high", "cv_low") if high is None else ("cv_low", "cv_high")
        raise ValueError(f"column {column}: it is empty, and {other} is {values[other]:g}; an interval has two ends")
    if low is not None and low > high:
        raise ValueError(f"column cv_low: {low:g} is above cv_high, {high:g}")
    if rank is not None and (rank < 1 or rank != int(rank)):
        raise ValueError(f"column rank: {rank:g} is not a whole number from 1")
