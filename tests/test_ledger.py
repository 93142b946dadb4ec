"""The ledger keeps every event it has acknowledged: through kills, crowds, full disks and merges."""

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


def test_events_read_back_as_they_were_noted(ledger):
    append(ledger, FULL)
    append(ledger, BARE)
    assert read(ledger) == [FULL, BARE]
    assert ledger.read_text().startswith(
        "id,time,event,competition,file,sha256,message,metric,cv,cv_low,cv_high,public,private,rank\na/b,"
    )


def test_what_was_there_is_never_touched(ledger):
    append(ledger, FULL)
    for number in range(20):
        before = ledger.read_bytes()
        append(ledger, replace(BARE, id=f"{number}"))
        assert ledger.read_bytes().startswith(before)


def test_an_empty_file_gets_its_header_too(ledger):
    ledger.parent.mkdir()
    ledger.touch()
    append(ledger, BARE)
    assert read(ledger) == [BARE] and ledger.read_text().startswith("id,time,")


def test_a_ledger_that_is_not_there_is_empty(ledger):
    assert read(ledger) == [] and not ledger.parent.exists()


@pytest.mark.parametrize("message", ["two\nlines", "Windows\r\n", "\rold Mac", 'a "quote"', "comma, comma", "'"])
def test_every_event_is_one_line(ledger, message):
    append(ledger, replace(FULL, message=message))
    assert ledger.read_bytes().count(b"\n") == 2 and b"\r" not in ledger.read_bytes()
    assert read(ledger)[0].message.split() == message.split()


@pytest.mark.parametrize(
    "change", [{"public": float("nan")}, {"cv": float("inf")}, {"event": "lost"}, {"id": ""}, {"time": "yesterday"}]
)
def test_what_could_not_be_read_again_is_not_noted(ledger, change):
    append(ledger, FULL)
    before = ledger.read_bytes()
    with pytest.raises(UserError, match="cannot be noted"):
        append(ledger, BARE, replace(BARE, **change))
    assert ledger.read_bytes() == before


# ---- what a merge, an editor or a spreadsheet makes of it ----


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
def test_it_reads_the_same_after(ledger, spoil):
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
def test_a_broken_line_is_named(ledger, line):
    append(ledger, FULL)
    ledger.write_text(ledger.read_text() + line + "\n")
    with pytest.raises(UserError, match=rf"{ledger}, line 3 is no event \(.+\); mend or delete"):
        read(ledger)


def test_bytes_that_are_no_text_are_refused_by_name(ledger):
    ledger.parent.mkdir()
    ledger.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=str(ledger)):
        read(ledger)


def test_two_branches_that_noted_apart_merge_into_both(tmp_path, monkeypatch):
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    shutil.copy(REPO_ROOT / ".gitattributes", ".gitattributes")
    path = Path("submissions/ledger.csv")
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "nothing yet")
    # neither knows of a ledger: both bring a header; then both add to a common one
    for round_, common in enumerate(([], [FULL])):
        events = [
            replace(BARE, id=f"{who}{number}", time=f"2025-11-2{round_ + 2}T0{number}:00:00+00:00")
            for who in "ab"
            for number in range(3)
        ]
        git("branch", f"other{round_}")
        for branch, own in (("main", events[:3]), (f"other{round_}", events[3:])):
            git("checkout", branch)
            for event in own:
                append(path, event)
            git("add", "submissions/ledger.csv")
            git("commit", "-m", "noted")
        git("checkout", "main")
        before = len(read(path))
        git("merge", f"other{round_}", "-m", "both")
        assert set(events) <= set(read(path)) and len(read(path)) == before + 3
        if not common:
            append(path, FULL)
            git("commit", "-am", "one more")
    assert FULL in read(path)


def test_git_keeps_the_bytes_of_submissions_wherever_they_lie_and_leaves_out_only_the_demos():
    def git(*words: str) -> list[str]:
        return subprocess.run(["git", *words], cwd=REPO_ROOT, capture_output=True, text=True).stdout.splitlines()

    kept = ["submissions/x.csv", "submissions/a/b.csv", "submissions/a/b.json", "submissions/ledger.csv"]
    assert git("check-attr", "text", *kept) == [f"{file}: text: unset" for file in kept]
    drawn = ["submissions/demo.csv", "submissions/demo.json", "submissions/demo+d4.csv", "submissions/demo-mean.csv"]
    assert git("check-ignore", *drawn, *kept, "submissions/demography.csv") == drawn


# ---- what is known of an id ----


def at(hour: int, event: str, **known) -> Event:
    return Event("x", f"2025-11-21T{hour:02}:00:00+00:00", event, **known)


def test_the_last_known_value_of_each_column_counts():
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


def test_times_of_different_offsets_are_compared_as_moments():
    early, late = "2025-11-21T12:00:00+09:00", "2025-11-21T04:00:00"  # 03:00 and 04:00 UTC
    assert (
        latest_entries([Event("x", late, "scored", public=2), Event("x", early, "scored", public=1)])["x"].public == 2
    )


def test_a_score_belongs_to_the_content_that_was_sent():
    events = [
        at(1, "written", sha256="1", cv=0.9),
        at(2, "written", sha256="2", cv=0.5),
        at(3, "sent", sha256="1"),
        at(4, "scored", sha256="1", public=0.8),
    ]
    entry = latest_entries(events)["x"]
    assert (entry.cv, entry.public, entry.sent_sha256, entry.written_sha256) == (0.9, 0.8, "1", "2")


def test_what_was_known_of_an_overwritten_file_is_not_said_of_the_new_one():
    entry = latest_entries([at(1, "written", sha256="1", cv=0.9), at(2, "written", sha256="2")])["x"]
    assert (entry.cv, entry.written) == (None, "2025-11-21T02:00:00+00:00")


# ---- what writers suffer ----


def write_on(ledger: Path, said: Path, name: str, lines: int = 10**9) -> None:
    """Note events for ever, and say of each that it is safe, once it is."""
    with open(said, "ab", buffering=0) as file:
        for number in range(lines):
            append(ledger, replace(FULL, id=f"{name}-{number}", message="m" * (number % 50)))
            file.write(f"{name}-{number}\n".encode())


def test_killed_at_any_moment_and_in_a_crowd_it_loses_no_event_and_breaks_no_line(ledger, tmp_path):
    fork, chance, said = multiprocessing.get_context("fork"), random.Random(1), tmp_path / "said"
    for round_ in range(15):
        writers = [fork.Process(target=write_on, args=(ledger, said, f"{round_}-{who}")) for who in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            time.sleep(chance.uniform(0.005, 0.06))
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            writer.join()
        known = {event.id for event in read(ledger)}
        assert set(said.read_text().split()) <= known
    assert len(known) > 15, "the writers were killed before they could write"


def test_writers_at_once_lose_nothing(ledger, tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_on, args=(ledger, tmp_path / "said", f"{who}", 25)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {event.id for event in read(ledger)} == {f"{who}-{number}" for who in range(4) for number in range(25)}
    assert ledger.read_text().count("\n") == 101 and ledger.read_text().startswith(",".join(COLUMNS))


def test_a_full_disk_is_an_error_and_the_ledger_stays(ledger):
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
