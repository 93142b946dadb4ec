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
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.submit.ledger import COLUMNS, Event, LedgerEntry, append, latest_entries, read
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
    rank=12.0,
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
