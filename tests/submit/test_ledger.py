"""The ledger keeps every acknowledged event: through kills, concurrent writers, full disks and merges."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comp.errors import UserError
from comp.submit.ledger import LedgerEntry, append, entries_by_content, latest_entries, read
from comp.submit.ledger_lines import COLUMNS, HEADER, Event, format_row
from tests.conftest import REPO_ROOT

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


@pytest.fixture
def ledger(tmp_path) -> Path:
    return tmp_path / "submissions" / "ledger.csv"


def test_append_events_read_back_unchanged(ledger):
    append(ledger, FULL)
    append(ledger, BARE)
    assert read(ledger) == [FULL, BARE]
    assert ledger.read_text().startswith(
        "id,time,event,competition,file,sha256,message,metric,cv,cv_low,cv_high,public,private,rank\na/b,"
    )


def test_append_existing_bytes_are_kept(ledger):
    append(ledger, FULL)
    for number in range(20):
        before = ledger.read_bytes()
        append(ledger, replace(BARE, id=f"{number}"))
        assert ledger.read_bytes().startswith(before)


def test_append_empty_file_gets_header(ledger):
    ledger.parent.mkdir()
    ledger.touch()
    append(ledger, BARE)
    assert read(ledger) == [BARE] and ledger.read_text().startswith("id,time,")


def test_read_missing_ledger_is_empty(ledger):
    assert read(ledger) == [] and not ledger.parent.exists()


@pytest.mark.parametrize("message", ["two\nlines", "Windows\r\n", "\rold Mac", 'a "quote"', "comma, comma", "'"])
def test_append_message_with_newlines_is_one_line(ledger, message):
    append(ledger, replace(FULL, message=message))
    assert ledger.read_bytes().count(b"\n") == 2 and b"\r" not in ledger.read_bytes()
    assert read(ledger)[0].message.split() == message.split()


@pytest.mark.parametrize(
    "change", [{"public": float("nan")}, {"cv": float("inf")}, {"event": "lost"}, {"id": ""}, {"time": "yesterday"}]
)
def test_append_unreadable_event_is_refused(ledger, change):
    append(ledger, FULL)
    before = ledger.read_bytes()
    with pytest.raises(UserError, match="the ledger cannot record"):
        append(ledger, BARE, replace(BARE, **change))
    assert ledger.read_bytes() == before


# ---- after a merge, an editor or a spreadsheet ----


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text + text,  # header and lines twice
        lambda text: "\n".join(text.split("\n")[::-1]),  # in any order, the header last
        lambda text: text.replace("\n", "\n\n \n"),
        lambda text: text.partition("\n")[2],  # without its header
    ],
    ids=["no newline", "CRLF", "BOM", "twice", "reversed", "blank lines", "headless"],
)
def test_read_after_edit_gives_same_events(ledger, spoil):
    append(ledger, FULL, BARE)
    ledger.write_bytes(spoil(ledger.read_text()).encode())
    assert read(ledger) == [FULL, BARE]
    last = replace(BARE, id="d", time="2025-11-21T12:00:00+00:00")
    append(ledger, last)
    assert read(ledger) == [FULL, BARE, last]


@pytest.mark.parametrize(
    "line",
    [
        "<<<<<<< HEAD",
        "a,b",
        "x," + "," * 12,
        "x,noon,sent" + "," * 11,
        "x,2025-11-21,sent,,,,,,much,,,,,",
        "x,2025-11-21,sent,,,,,,nan,,,,,",
        'x,2025-11-21,sent,"' + "," * 11,
        ",2025-11-21,sent" + "," * 11,
    ],
)
def test_read_broken_line_is_named(ledger, line):
    append(ledger, FULL)
    ledger.write_text(ledger.read_text() + line + "\n")
    with pytest.raises(UserError, match=rf"{ledger}, line 3 is not an event \(.+\); fix or delete"):
        read(ledger)


ROW = {"id": "x", "time": "2025-11-21T10:00:00+00:00", "event": "scored", "metric": "accuracy"}
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


def row(**cells: str) -> str:
    return format_row([{**ROW, **cells}.get(column, "") for column in COLUMNS])


@pytest.mark.parametrize(("cells", "problem"), WRONG_CELLS, ids=[problem[:40] for _, problem in WRONG_CELLS])
def test_read_wrong_cell_names_line_and_column(ledger, cells, problem):
    append(ledger, BARE)
    assert read_with(ledger, row()) == [FULL_ROW, BARE]  # the row alone is right
    with pytest.raises(UserError) as caught:
        read_with(ledger, row(**cells))
    line = str(caught.value)
    assert line.startswith(f"{ledger}, line 3 is not an event (") and line.endswith("); fix or delete that line")
    assert problem in line and "\n" not in line and len(line) < 300 + len(str(ledger))


FULL_ROW = Event("x", ROW["time"], "scored", metric="accuracy")


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


@pytest.mark.parametrize(
    ("spoil", "line", "problem"),
    [
        (lambda text: text.replace(",", ";"), 1, "semicolons are between its columns: save it as CSV with commas"),
        (lambda text: text.replace(",", "\t"), 1, "tabs are between its columns"),
        (
            lambda text: text.replace("public,private", "private,public"),
            1,
            "column private: the header must be id,time",
        ),
        (lambda text: text.replace(",rank", ""), 1, "column private: the header must be id,time"),
        (lambda text: text[:-20], 3, "it ends in column"),
        (lambda text: text[:-1] + ",0.9\n", 3, "15 columns instead of 14"),
        (lambda text: text + 'x,"two\n', 4, "its quotes are broken: unexpected end of data"),
        (lambda text: text + "=======\n", 4, "a merge conflict: keep the events of both sides"),
        (lambda text: text + "z" * 200_000 + "\n", 4, "its quotes are broken: field larger"),
    ],
)
def test_read_wrong_line_is_named(ledger, spoil, line, problem):
    append(ledger, BARE, FULL)
    ledger.write_text(spoil(ledger.read_text()))
    with pytest.raises(UserError) as caught:
        read(ledger)
    assert f"{ledger}, line {line} is not an event (" in str(caught.value) and problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            row(message="Läufe").encode("latin-1"),
            "line 1, column message: it is not UTF-8 text; save the file as UTF-8",
        ),
        (f"\n{HEADER}\r\n{row(id='ä')}".encode("latin-1"), "line 3, column id: it is not UTF-8 text"),
        (row().encode("utf-16"), "line 1, column id: it is not UTF-8 text"),
        (row().encode("utf-16-le"), "line 1 is not an event ("),
    ],
)
def test_read_other_encoding_is_named(ledger, content, problem):
    ledger.parent.mkdir()
    ledger.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(ledger)
    assert problem in str(caught.value)


def test_read_what_is_no_file_or_too_large_is_refused(ledger):
    ledger.mkdir(parents=True)
    with pytest.raises(UserError, match=str(ledger)):
        read(ledger)
    ledger.rmdir()
    os.mkfifo(ledger)
    with pytest.raises(UserError, match=str(ledger)):
        read(ledger)
    ledger.unlink()
    with open(ledger, "wb") as file:
        file.truncate(2**30)
    with pytest.raises(UserError, match=str(ledger)):
        read(ledger)


def test_append_text_is_made_readable(ledger):
    """A message of any length and content is recorded; Kaggle has received it already."""
    append(ledger, replace(FULL, message="\x1b\x00" + "m" * 9999))
    assert read(ledger)[0].message == "m" * 4096
    append(ledger, replace(FULL, id="id"))  # no header
    with pytest.raises(UserError, match="column file: it is not UTF-8 text"):
        append(ledger, replace(FULL, file="\udcff.csv"))
    assert len(read(ledger)) == 2


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary()
    | st.text().map(str.encode)
    | st.lists(st.text('ab,;"\n\r012.-e+:TZ')).map(lambda cells: ",".join(cells).encode())
    | st.lists(st.tuples(st.sampled_from(COLUMNS), st.text(max_size=9) | st.floats().map(str))).map(
        lambda cells: row(**dict(cells)).encode(errors="replace")
    )
)
def test_read_any_content_gives_events_or_a_user_error(ledger, content):
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_bytes(content)
    try:
        events = read(ledger)
    except UserError as error:
        assert "\n" not in str(error) and str(ledger) in str(error)
    else:
        assert len(entries_by_content(events)) >= len({event.id for event in events})


def test_read_binary_file_is_refused(ledger):
    ledger.parent.mkdir()
    ledger.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=str(ledger)):
        read(ledger)


def test_ledger_two_branches_merge_to_both_events(tmp_path, monkeypatch):
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True, capture_output=True
        )

    monkeypatch.chdir(tmp_path)
    shutil.copy(REPO_ROOT / ".gitattributes", ".gitattributes")
    path = Path("submissions/ledger.csv")
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "nothing yet")
    # first round: no common ledger, both branches write a header; second round: both append to a common one
    for round_, common in enumerate(([], [FULL])):
        events = [
            replace(BARE, id=f"{author}{number}", time=f"2025-11-2{round_ + 2}T0{number}:00:00+00:00")
            for author in "ab"
            for number in range(3)
        ]
        git("branch", f"other{round_}")
        for branch, own in (("main", events[:3]), (f"other{round_}", events[3:])):
            git("checkout", branch)
            for event in own:
                append(path, event)
            git("add", "submissions/ledger.csv")
            git("commit", "-m", "events")
        git("checkout", "main")
        before = len(read(path))
        git("merge", f"other{round_}", "-m", "both")
        assert set(events) <= set(read(path)) and len(read(path)) == before + 3
        if not common:
            append(path, FULL)
            git("commit", "-am", "one more")
    assert FULL in read(path)


def test_git_submissions_keep_bytes_and_only_demos_are_ignored():
    def git(*arguments: str) -> list[str]:
        return subprocess.run(["git", *arguments], cwd=REPO_ROOT, capture_output=True, text=True).stdout.splitlines()

    kept = ["submissions/x.csv", "submissions/a/b.csv", "submissions/a/b.json", "submissions/ledger.csv"]
    assert git("check-attr", "text", *kept) == [f"{file}: text: unset" for file in kept]
    drawn = ["submissions/demo.csv", "submissions/demo.json", "submissions/demo+d4.csv", "submissions/demo-mean.csv"]
    assert git("check-ignore", *drawn, *kept, "submissions/demography.csv") == drawn


# ---- entries ----


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


# ---- kills, concurrent writers, a full disk ----


def write_on(ledger: Path, acknowledged: Path, name: str, lines: int = 10**9) -> None:
    """Append events without end, and record the id of each once it is on the disk."""
    with open(acknowledged, "ab", buffering=0) as file:
        for number in range(lines):
            append(ledger, replace(FULL, id=f"{name}-{number}", message="m" * (number % 50)))
            file.write(f"{name}-{number}\n".encode())


def test_append_killed_concurrent_writers_lose_no_event(ledger, tmp_path):
    fork, rng, acknowledged = multiprocessing.get_context("fork"), random.Random(1), tmp_path / "acknowledged"
    for round_ in range(15):
        writers = [
            fork.Process(target=write_on, args=(ledger, acknowledged, f"{round_}-{writer}")) for writer in range(3)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            time.sleep(rng.uniform(0.005, 0.06))
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            writer.join()
        recorded = {event.id for event in read(ledger)}
        assert set(acknowledged.read_text().split()) <= recorded
    assert len(recorded) > 15, "the writers were killed before they could write"


def test_append_concurrent_writers_lose_no_event(ledger, tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=write_on, args=(ledger, tmp_path / "acknowledged", f"{writer}", 25)) for writer in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {event.id for event in read(ledger)} == {f"{writer}-{number}" for writer in range(4) for number in range(25)}
    assert ledger.read_text().count("\n") == 101 and ledger.read_text().startswith(",".join(COLUMNS))


def test_append_full_disk_fails_and_keeps_ledger(ledger):
    append(ledger, FULL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = ledger.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            append(ledger, BARE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.read_bytes() == before and caught.value.filename == str(ledger)
    assert not list(ledger.parent.glob("*.tmp*")) and not list(ledger.parent.glob(".*.tmp"))
    append(ledger, BARE)
    assert read(ledger) == [FULL, BARE]
