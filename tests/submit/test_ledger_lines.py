"""A line of the ledger holds what a program wrote, or names the column in which a person wrote something else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.submit.ledger import append, read
from comp.submit.ledger_lines import Event, format_line, parse_line, score_problem
from tests.submit.ledger_rows import BARE, FULL, FULL_ROW, row

WRONG_CELLS = [
    ({"id": ""}, "column id: it is empty"),
    ({"id": "x" * 5000}, "column id: it has 5,000 characters"),
    ({"id": "a\x00b"}, "column id: it has the character '\\x00'"),
    ({"time": ""}, "column time: it is empty"),
    ({"time": "21.11.2025 10:00"}, "column time: '21.11.2025 10:00' is not a time such as"),
    ({"time": "9999-12-31T23:59:59-12:00"}, "column time: 9999-12-31T23:59:59-12:00 is in the future"),
    ({"time": "9999-01-01"}, "column time: 9999-01-01 is in the future"),
    ({"time": "0001-01-01T00:00:00+14:00"}, "column time: 0001-01-01T00:00:00+14:00 is before 2000"),
    ({"event": "submitted"}, "column event: 'submitted' is not one of written, sent, scored"),
    ({"metric": "acuracy"}, "column metric: there is no metric 'acuracy'; did you mean accuracy?"),
    ({"file": ".."}, "column file: '..' names no file"),
    ({"file": "/"}, "column file: '/' names no file"),
    ({"file": "y" * 300}, "names no file"),
    ({"message": "\x1b[2J"}, "column message: it has the character '\\x1b'"),
    ({"public": "98.4"}, "column public: it is 98.4, and accuracy is between 0 and 1: write 0.984"),
    ({"private": "-0.5"}, "column private: it is -0.5, and accuracy is between 0 and 1"),
    ({"cv": "1.5"}, "column cv: it is 1.5, and accuracy is between 0 and 1"),
    ({"cv": "0.9", "cv_low": "0.8", "cv_high": "99"}, "column cv_high: it is 99, and accuracy"),
    ({"metric": "log_loss", "public": "98.4"}, "column public: it is 98.4, and log_loss is between 0 and 35"),
    ({"metric": "log_loss", "cv": "-1"}, "column cv: it is -1, and log_loss"),
    ({"metric": "", "public": "98.4"}, "column public: it is 98.4, and a score is between 0 and 35: write 0.984"),
    ({"public": "98.4%"}, "column public: '98.4%' is not a number"),
    ({"public": "0,984"}, "column public: '0,984' is not a number; write 0.984, with a point"),
    ({"public": "1_0"}, "column public: '1_0' is not a number"),
    ({"public": "inf"}, "column public: 'inf' is not a number"),
    ({"public": "nan"}, "column public: 'nan' is not a number"),
    ({"public": "1e999"}, "column public: 1e999 is too large"),
    ({"cv_low": "0.9"}, "column cv_high: it is empty, and cv_low is 0.9"),
    ({"cv_high": "0.9"}, "column cv_low: it is empty, and cv_high is 0.9"),
    ({"cv_low": "0.9", "cv_high": "0.8"}, "column cv_low: 0.9 is above cv_high, 0.8"),
    ({"rank": "0"}, "column rank: 0 is not a whole number from 1"),
    ({"rank": "1.5"}, "column rank: 1.5 is not a whole number"),
]


@pytest.mark.parametrize(("cells", "problem"), WRONG_CELLS, ids=[problem[:40] for _, problem in WRONG_CELLS])
def test_read_wrong_cell_names_line_and_column(ledger, cells, problem):
    append(ledger, BARE)
    assert read_with(ledger, row()) == [FULL_ROW, BARE]  # the row alone is right
    with pytest.raises(UserError) as caught:
        read_with(ledger, row(**cells))
    line = str(caught.value)
    assert line.startswith(f"{ledger}, line 3 is not an event (") and line.endswith("); fix or delete that line")
    assert problem in line and "\n" not in line and len(line) < 300 + len(str(ledger))


def read_with(ledger: Path, line: str) -> list[Event]:
    """Read the ledger with one more line."""
    content = ledger.read_bytes()
    ledger.write_bytes(content + line.encode())
    try:
        return read(ledger)
    finally:
        ledger.write_bytes(content)


def test_read_score_is_in_the_range_of_the_metric_of_its_submission(ledger):
    """`submit log` adds a line without a metric: the line that was written has it."""
    append(ledger, replace(FULL, id="x", event="written"))
    scored = row(metric="", public="1.7")
    with pytest.raises(UserError, match=r"line 3 .*column public: it is 1\.7, and accuracy is between 0 and 1"):
        read_with(ledger, scored)
    other = scored.replace("x,", "y,", 1)
    assert read_with(ledger, other)[-1].public == 1.7
    ledger.write_bytes(ledger.read_bytes() + other.encode())
    with pytest.raises(UserError, match="accuracy is between 0 and 1"):
        read(ledger, "accuracy")  # the metric of the config
    assert len(read(ledger, "log_loss")) == 2


def test_read_time_of_another_clock_may_be_hours_ahead(ledger):
    ahead = (datetime.now(UTC) + timedelta(hours=13)).isoformat(timespec="seconds")
    append(ledger, replace(BARE, time=ahead))
    assert read(ledger)[0].time == ahead
    with pytest.raises(UserError, match="is in the future"):
        append(ledger, replace(BARE, time=(datetime.now(UTC) + timedelta(hours=25)).isoformat()))


def test_append_text_is_made_readable(ledger):
    """A message of any length and content is recorded; Kaggle has received it already."""
    append(ledger, replace(FULL, message="\x1b\x00" + "m" * 9999))
    assert read(ledger)[0].message == "m" * 4096
    append(ledger, replace(FULL, id="id"))  # no header
    with pytest.raises(UserError, match="column file: it is not UTF-8 text"):
        append(ledger, replace(FULL, file="\udcff.csv"))
    assert len(read(ledger)) == 2


def test_format_line_is_the_shortest_text_of_each_value():
    assert format_line(FULL) == (
        'a/b,2025-11-21T10:00:00+00:00,scored,cells,submissions/a/b.csv,5e,"first, ""try"" ä",accuracy,'
        "0.9812500000000001,0.97,0.99,0.3333333333333333,0,1\n"
    )
    assert format_line(replace(FULL, message=" two\nlines ", file="", rank=10.0)).endswith(",0,10\n")
    assert parse_line(format_line(FULL).rstrip("\n")) == FULL


@pytest.mark.parametrize(
    "cells",
    [
        {"time": "2000-01-01T00:00:00+00:00"},
        {"id": "x" * 4096},
        {"file": "y" * 255},
        {"file": "ä" * 127 + "/y"},
        {"metric": "mine.py:score", "public": "-3"},
        {"metric": "accuracy", "public": "1", "private": "0"},
        {"metric": "log_loss", "public": "35"},
        {"metric": "", "public": "35", "private": "0"},
        {"cv": "0.9", "cv_low": "0.9", "cv_high": "0.9"},
        {"rank": "1"},
        {"rank": "1."},
        {"message": "tab\tand ä"},
        {"public": "+.5e0"},
    ],
)
def test_read_values_at_their_limits_are_accepted(ledger, cells):
    append(ledger, BARE)
    [event] = [event for event in read_with(ledger, row(**cells)) if event != BARE]
    numbers = {"cv", "cv_low", "cv_high", "public", "private", "rank"}
    assert all(getattr(event, name) == (float(text) if name in numbers else text) for name, text in cells.items())


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"time": "1999-12-31T23:59:59"}, "column time: 1999-12-31T23:59:59 is before 2000)"),
        ({"id": "x" * 4097}, "column id: it has 4,097 characters, more than 4,096)"),
        ({"file": "y" * 256}, "names no file)"),
        ({"file": "ä" * 128}, "names no file)"),  # of two bytes each
        ({"public": "98.4%"}, "column public: '98.4%' is not a number)"),
        ({"public": "98,4%"}, "column public: '98,4%' is not a number; write 98.4, with a point)"),
        ({"public": "much, more"}, "column public: 'much, more' is not a number)"),
        ({"public": "100"}, "and accuracy is between 0 and 1: write 1)"),
        ({"public": "101"}, "and accuracy is between 0 and 1)"),
        ({"metric": "", "public": "36"}, "and a score is between 0 and 35: write 0.36)"),
        ({"metric": "log_loss", "public": "36"}, "and log_loss is between 0 and 35)"),
        ({"metric": "mcc", "public": "-1.5"}, "and mcc is between -1 and 1)"),
    ],
)
def test_read_values_beyond_their_limits_are_named(ledger, cells, problem):
    append(ledger, BARE)
    with pytest.raises(UserError) as caught:
        read_with(ledger, row(**cells))
    assert problem in str(caught.value)


def test_score_problem_of_an_own_metric_is_none():
    assert score_problem("mine.py:score", -1e9) is None and score_problem("accuracy", 0.5) is None
