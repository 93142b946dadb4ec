"""Read and write the table of a submission file: CSV, a JSON list of records, or a JSON map."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from comp.data.row_numbers import RowNumbers, find_row_numbers
from comp.errors import UserError, shorten
from comp.files import parse_json, read_bytes
from comp.tables import MAX_CLASSES

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_ROWS = 2_000_000  # a CSV of 41 MB, in 0.7 GB of memory
MAX_COLUMNS = MAX_CLASSES + 1

Layout = Literal["csv", "records", "map"]  # JSON: records is [{...}], map is {id: label}


class _TooLargeError(ValueError):
    """More rows or columns than any competition has."""


@dataclass(frozen=True)
class SubmissionTable:
    """The content of a submission file, with what it takes to write the same bytes again.

    `rows` are text as in the file: the id, then the label or one probability per class.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    layout: Layout = "csv"
    newline: str = "\n"
    bom: bool = False
    numeric: tuple[bool, ...] = ()  # JSON: which columns hold numbers and not text
    row_numbers: RowNumbers | None = None  # CSV: the column before the ids that numbers the rows

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of the file, with that of row numbers."""
        return self.columns if self.row_numbers is None else (self.row_numbers.name, *self.columns)

    @property
    def ids(self) -> list[str]:
        """The first column, beside row numbers."""
        return [row[0] for row in self.rows]

    @property
    def suffix(self) -> str:
        """The file's suffix: .csv or .json."""
        return ".csv" if self.layout == "csv" else ".json"


def read_table(path: Path) -> SubmissionTable:
    """Read a complete submission: at least two columns, rows of one length, no id twice; else raise a UserError."""
    table = read_table_unchecked(path)
    if len(table.columns) < 2 or not table.rows or any(len(row) != len(table.columns) for row in table.rows):
        raise UserError(f"{path} must have an id column, one or more label columns, and rows of that length")
    if repeated := [id for id, count in Counter(table.ids).items() if count > 1]:
        raise UserError(f"{path} has the id {shorten(repeated[0])} twice; remove one")
    return table


def read_table_unchecked(path: Path) -> SubmissionTable:
    """Read every row of a file, whatever its length, and also ids that occur twice, so that a check can list them."""
    try:
        raw = read_bytes(path)
        text = raw.decode("utf-8-sig")
        # pairs instead of a dict: a dict would hide an id that occurs twice in a map
        return _from_json(parse_json(text, tuple)) if path.suffix == ".json" else _from_csv(text, raw)
    except _TooLargeError as error:
        raise UserError(f"{path} has {error}; fix the file") from None
    except (ValueError, csv.Error, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is not a readable submission file") from None


def to_bytes(table: SubmissionTable) -> bytes:
    """Return the content of the file."""
    if table.layout == "csv":
        text = io.StringIO(newline="")
        lines: Iterable[tuple[str, ...]] = table.rows
        if table.row_numbers is not None:
            lines = ((number, *row) for number, row in zip(table.row_numbers.texts, table.rows, strict=True))
        csv.writer(text, lineterminator=table.newline).writerows([table.header, *lines])
        return (BYTE_ORDER_MARK if table.bom else b"") + text.getvalue().encode()
    rows = [
        [json.loads(value) if is_number else value for value, is_number in zip(row, table.numeric, strict=True)]
        for row in table.rows
    ]
    if table.layout == "map":
        return _json_bytes({id: label for id, label in rows})
    return _json_bytes([dict(zip(table.columns, row, strict=True)) for row in rows])


def _from_csv(text: str, raw: bytes) -> SubmissionTable:
    rows: list[tuple[str, ...]] = []
    for row in csv.reader(_checked_lines(text)):
        if row:
            rows.append(tuple(row))
        if len(rows) > MAX_ROWS + 1:
            raise _TooLargeError(f"more than {MAX_ROWS:,} rows")
    newline = "\r\n" if "\r\n" in text else "\n"
    columns, body, numbers = rows[0], rows[1:], find_row_numbers(rows[0], rows[1:])
    if numbers is not None:
        columns, body = columns[1:], [row[1:] for row in body]
    return SubmissionTable(columns, tuple(body), "csv", newline, raw.startswith(BYTE_ORDER_MARK), row_numbers=numbers)


def _checked_lines(text: str) -> Iterator[str]:
    """Yield the lines of a CSV; one with too many columns would fill the memory as soon as it is split."""
    for line in io.StringIO(text, newline=""):
        if line.count(",") > MAX_COLUMNS:
            raise _TooLargeError(f"a line of {line.count(',') + 1:,} columns, more than {MAX_COLUMNS:,}")
        yield line


def _from_json(content: Any) -> SubmissionTable:
    """Return the table of parsed JSON whose objects are tuples of pairs."""
    if len(content) > MAX_ROWS:
        raise _TooLargeError(f"more than {MAX_ROWS:,} rows")
    if isinstance(content, tuple):
        return _with_text("map", ("id", "label"), content)
    records = [dict(record) for record in content]
    columns = tuple(records[0])
    return _with_text("records", columns, tuple(tuple(record[column] for column in columns) for record in records))


def _with_text(layout: Layout, columns: tuple[str, ...], rows: tuple[tuple[Any, ...], ...]) -> SubmissionTable:
    numeric = tuple(all(type(value) in (int, float) for value in column) for column in zip(*rows, strict=True))
    return SubmissionTable(columns, tuple(tuple(map(str, row)) for row in rows), layout, numeric=numeric)


def _json_bytes(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
