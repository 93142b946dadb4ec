"""The ledger keeps its events through edits, merges and other encodings, and names the line that is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comp.errors import UserError
from comp.submit import ledger as ledgers
from comp.submit.ledger import append, entries_by_content, read, utc_now
from comp.submit.ledger_lines import COLUMNS, HEADER
from tests.conftest import REPO_ROOT
from tests.submit.ledger_rows import BARE, FULL, row


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


def test_append_makes_every_missing_directory(tmp_path):
    ledger = tmp_path / "runs" / "demo" / "ledger.csv"
    append(ledger, BARE)
    assert read(ledger) == [BARE] and {path.name for path in ledger.parent.iterdir()} <= {
        "ledger.csv",
        ".ledger.csv.lock",
    }


def test_append_locked_by_another_process_ends_with_an_error(ledger, monkeypatch):
    append(ledger, FULL)
    monkeypatch.setattr(ledgers, "LOCK_TIMEOUT", 0.05)
    with FileLock(ledger.with_name(".ledger.csv.lock")), pytest.raises(UserError, match=r"has locked .* for 0.05 s"):
        append(ledger, BARE)
    append(ledger, BARE)
    assert read(ledger) == [FULL, BARE]


def test_utc_now_is_the_time_in_seconds():
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= datetime.fromisoformat(utc_now()) <= datetime.now(UTC)
    assert len(utc_now()) == len("2026-11-21T12:57:55+00:00") and utc_now().endswith("+00:00")


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
        (f"\r{HEADER}\r{row(message='ä')}".encode("latin-1"), "line 3, column message: it is not UTF-8 text"),
        (("," * 40 + "ä").encode("latin-1"), "line 1, column rank: it is not UTF-8 text"),
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
        file.truncate(2**26 + 1)
    with pytest.raises(UserError, match=rf"{ledger} has 67,108,865 bytes, more than the 67,108,864 that are read"):
        read(ledger)


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
