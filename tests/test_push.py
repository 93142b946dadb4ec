"""A file goes to Kaggle once, whatever happens on the way: the real client against a small service on this machine."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.submit import ledger, push, quota
from comp.submit.check import SubmissionReport
from comp.submit.competition import Competition
from comp.submit.format_checks import SubmissionIssue
from comp.submit.ledger import Event
from tests.kaggle_service import COMPETITION

REPO_ROOT = Path(__file__).resolve().parents[1]
NOON = datetime(2026, 3, 14, 15, 48, tzinfo=UTC)


@pytest.fixture
def report(tmp_path, monkeypatch) -> SubmissionReport:
    monkeypatch.setattr(push, "MIN_POLL_SECONDS", 0.01)
    start, seconds = datetime.now(UTC), itertools.count()  # no two events of one time: equal lines count once
    monkeypatch.setattr(
        ledger, "utc_now", lambda: (start + timedelta(seconds=next(seconds))).isoformat(timespec="seconds")
    )
    path = tmp_path / "mine.csv"
    path.write_text("id,label\na,1\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    oof = {"metric": "accuracy", "score": 0.9484, "interval": [0.931, 0.963], "naive": 0.95, "images": 3200}
    competition = Competition("blood-cells", "input/blood-cells", str(tmp_path / "ledger.csv"), COMPETITION)
    return SubmissionReport(path, "mine", sha256, {"oof": oof, "sha256": sha256}, competition, 1, ())


DOUBTFUL, BROKEN = SubmissionIssue("doubtful", "every row says RBC"), SubmissionIssue("broken", "its ids are gone")


def log(report: SubmissionReport, *events: Event) -> None:
    ledger.append(Path(report.competition.ledger), *events)


def events(report: SubmissionReport) -> list[Event]:
    return ledger.read(Path(report.competition.ledger))


def send(report: SubmissionReport, *findings: SubmissionIssue, yes=False, timeout=10.0) -> int:
    return push.push(replace(report, findings=findings, yes=yes), "mine", timeout)


def noted(report: SubmissionReport) -> list[tuple]:
    return [(event.event, event.public, event.private) for event in events(report)]


def test_a_file_is_sent_waited_for_and_noted(kaggle_server, report, capfd):
    kaggle_server.limits = {"numToday": 1, "numTotal": 1, "numAllowedNow": 4}
    assert send(report) == 0
    assert (
        kaggle_server.submissions[0]["description"] == f"mine | accuracy 0.9484 [0.931, 0.963] | {report.sha256[:12]}"
    )
    assert list(kaggle_server.blobs.values()) == [report.file.read_bytes()]
    assert noted(report) == [("sent", None, None), ("scored", 0.98412, None)]
    entry = ledger.latest_entries(events(report))["mine"]
    assert (entry.sent_sha256, entry.public, entry.cv_low) == (report.sha256, 0.98412, 0.931)
    assert entry.message == kaggle_server.submissions[0]["description"]
    out, err = capfd.readouterr()
    assert "3 more may follow today" in out and "public 0.98412, CV (accuracy) 0.9484" in out and not err


def test_without_a_cv_the_message_is_the_words_and_the_hash(report):
    bare = push.prepare_submission(replace(report, note=None))
    assert push.format_message(bare, "two\nlines") == f"two lines | {report.sha256[:12]}"
    assert push.format_message(bare, "") == report.sha256[:12]


def test_given_again_nothing_is_sent_and_nothing_noted_twice(kaggle_server, report, capfd):
    send(report)
    assert send(report) == 0 and send(report, DOUBTFUL) == 0 and send(report, DOUBTFUL, yes=True) == 0
    assert len(kaggle_server.submissions) == 1 and len(noted(report)) == 2
    assert "was sent already" in capfd.readouterr().out


def test_a_private_score_that_comes_later_is_noted(kaggle_server, report):
    send(report)
    kaggle_server.submissions[0]["privateScore"] = "0.97"
    assert send(report) == 0
    assert noted(report)[-1] == ("scored", 0.98412, 0.97)


def test_killed_between_the_upload_and_the_ledger_it_is_not_sent_twice(kaggle_server, report, monkeypatch):
    real = ledger.append

    def dying(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        send(report)
    monkeypatch.setattr(ledger, "append", real)
    assert noted(report) == [] and len(kaggle_server.submissions) == 1
    kaggle_server.submissions[0]["date"] = "2026-03-14T15:48:00.5Z"
    assert send(report) == 0
    assert len(kaggle_server.submissions) == 1 and kaggle_server.names("PUT") == 1
    assert noted(report) == [("sent", None, None), ("scored", 0.98412, None)]
    assert events(report)[0].time == NOON.isoformat()


@pytest.mark.parametrize(
    "answer", [lambda it: it.drop(), lambda it: it.say(200, "{}"), lambda it: it.refuse(500, "Internal")]
)
def test_a_lost_answer_does_not_cost_a_second_shot(kaggle_server, report, answer):
    def accept(handler):
        kaggle_server.add(push.format_message(push.prepare_submission(report), "mine"), status="PENDING")
        answer(handler)

    kaggle_server.instead = {"CreateSubmission": accept}
    with pytest.raises(UserError, match=r"the same command.* looks first whether the file has arrived"):
        send(report)
    kaggle_server.instead = {}
    assert send(report) == 0 and len(kaggle_server.submissions) == 1


def test_when_the_time_is_up_the_same_command_waits_on(kaggle_server, report, capfd):
    kaggle_server.looks = 10**6
    assert send(report, timeout=0.1) == 1
    assert "given again, waits on" in capfd.readouterr().out
    assert noted(report) == [("sent", None, None)]
    kaggle_server.looks = 0
    assert send(report) == 0
    assert len(kaggle_server.submissions) == 1 and noted(report)[-1] == ("scored", 0.98412, None)


def test_trouble_while_waiting_is_waited_out(kaggle_server, report):
    def stumble(handler):
        del kaggle_server.instead["ListSubmissions"]
        handler.refuse(503, "Unavailable")

    def accept(handler):
        kaggle_server.instead = {"ListSubmissions": stumble}
        handler.say(200, '{"message": "", "ref": 7}')
        kaggle_server.add(push.format_message(push.prepare_submission(report), "mine"), status="PENDING")

    kaggle_server.instead = {"CreateSubmission": accept}
    assert send(report) == 0 and noted(report)[-1] == ("scored", 0.98412, None)


def test_what_kaggle_cannot_score_is_told_noted_and_sent_again_only_with_yes(kaggle_server, report, capfd):
    kaggle_server.fault = "ERROR: Unable to find 1000 required key values"
    assert send(report) == 1
    assert kaggle_server.fault in capfd.readouterr().out
    assert send(report) == 1 and len(kaggle_server.submissions) == 1 and len(noted(report)) == 2
    assert events(report)[-1].message == f"Kaggle could not score it: {kaggle_server.fault}"
    assert send(report, BROKEN, yes=True) == 1 and len(kaggle_server.submissions) == 1
    kaggle_server.fault, list_all, hidden = "", kaggle_server._ListSubmissions, iter([True, True])

    def late(sent):
        """The second try is not listed at once."""
        hide = len(kaggle_server.submissions) == 2 and next(hidden, False)
        return {"submissions": kaggle_server.submissions[1:]} if hide else list_all(sent)

    kaggle_server._ListSubmissions = late
    assert send(report, yes=True) == 0 and len(kaggle_server.submissions) == 2
    assert noted(report)[-1] == ("scored", 0.98412, None)
    assert send(report, yes=True) == 0 and len(kaggle_server.submissions) == 2


def test_what_the_guard_refuses_is_not_sent_without_yes(kaggle_server, report, capfd):
    assert send(report, DOUBTFUL) == 1 and send(report, BROKEN, yes=True) == 1
    assert not kaggle_server.asked and noted(report) == []
    out = capfd.readouterr().out
    assert DOUBTFUL.text in out and BROKEN.text in out and "--yes" in out
    assert send(report, DOUBTFUL, yes=True) == 0 and len(kaggle_server.submissions) == 1


def test_what_was_sent_and_scored_by_hand_is_not_sent(kaggle_server, report, capfd):
    log(
        report,
        replace(push.prepare_submission(report).about, event="sent", time="2026-03-01T10:00:00+00:00"),
        replace(push.prepare_submission(report).about, event="scored", time="2026-03-01T10:00:00+00:00", public=0.97),
    )
    assert send(report) == 0 and not kaggle_server.submissions
    assert "public 0.97" in capfd.readouterr().out


def test_a_new_content_under_an_old_name_is_sent(kaggle_server, report):
    send(report)
    report.file.write_text("id,label\na,2\n")
    edited = replace(report, sha256=hashlib.sha256(report.file.read_bytes()).hexdigest())
    assert push.prepare_submission(edited).about.cv is None, "the note's CV is not of this content"
    assert send(edited) == 0
    assert len(kaggle_server.submissions) == 2


def test_what_was_sent_to_another_competition_is_not_sent_here_yet(kaggle_server, report):
    log(
        report,
        replace(push.prepare_submission(report).about, event="sent", time=ledger.utc_now(), competition="leaves"),
    )
    assert send(report) == 0 and len(kaggle_server.submissions) == 1


def test_a_copy_under_another_name_is_not_sent_and_its_score_goes_to_the_first(kaggle_server, report):
    kaggle_server.looks = 10**6
    send(report, timeout=0)
    kaggle_server.looks = 0
    copy = report.file.with_name("copy.csv")
    copy.write_bytes(report.file.read_bytes())
    assert send(replace(report, file=copy, id="copy"), DOUBTFUL, yes=True) == 0
    assert len(kaggle_server.submissions) == 1 and [event.id for event in events(report)] == ["mine", "mine"]


# the quota


@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(quota, "_now", lambda: NOON)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"numToday": 5, "numTotal": 9}, "the next is free at 00:00 UTC, in 8 h 13 min"),
        ({"numToday": 5, "numTotal": 90, "limitedByTotal": True}, "all the files that the competition takes"),
    ],
)
def test_the_services_own_limit_counts(kaggle_server, report, noon, capfd, limits, words):
    kaggle_server.limits = limits
    assert send(report, yes=True) == 1
    assert words in capfd.readouterr().out and not kaggle_server.submissions and noted(report) == []


@pytest.mark.parametrize(
    ("listed", "errors", "in_ledger", "status"),
    [(5, 0, 0, 1), (4, 0, 0, 0), (4, 3, 0, 0), (0, 0, 5, 1), (0, 0, 4, 0), (3, 0, 3, 0), (4, 2, 6, 0), (4, 1, 6, 1)],
)
def test_where_the_service_does_not_tell_its_list_and_the_ledger_are_counted(
    kaggle_server, report, noon, capfd, listed, errors, in_ledger, status
):
    for _ in range(7):
        kaggle_server.add("of yesterday", NOON.replace(day=13, hour=23))
    for number in range(listed):
        kaggle_server.add("of today", NOON.replace(hour=1), "ERROR" if number < errors else "COMPLETE")
    for number in range(in_ledger):  # 00:30 in Berlin on the 15th is still the 14th in UTC
        log(report, Event(f"other{number}", "2026-03-15T00:30:00+01:00", "sent", competition="blood-cells"))
    log(
        report,
        Event("before", "2026-03-13T23:59:00", "sent", competition="blood-cells"),
        Event("elsewhere", NOON.isoformat(), "sent", competition="leaves"),
    )
    assert send(report) == status
    assert ("in 8 h 13 min" in capfd.readouterr().out) == bool(status)


# the command


@pytest.fixture
def mine(workspace, kaggle_server, monkeypatch) -> list[str]:
    """A file for the tiny competition, and the arguments that send it."""
    monkeypatch.setattr(push, "MIN_POLL_SECONDS", 0.01)
    sample = (workspace / "input/tiny/sample_submission.csv").read_text().splitlines()
    rows = [f"{line.split(',')[0]},{number}" for number, line in enumerate(sample[1:])]
    (workspace / "mine.csv").write_text("\n".join([sample[0], *rows, ""]))
    return ["submit", "push", "mine.csv", "-m", "by hand", "-c", "configs/demo.yaml", "data.root=input/tiny"]


def test_the_command_examines_sends_waits_and_notes(mine, run_cli, kaggle_server, workspace):
    status, out, err = run_cli("comp", *mine, f"submit.kaggle={COMPETITION}")
    assert (status, err) == (0, ""), out
    assert "it may be sent" in out and "public 0.98412" in out
    assert list(kaggle_server.blobs.values()) == [(workspace / "mine.csv").read_bytes()]
    entry = ledger.latest_entries(ledger.read(workspace / "runs/demo-submissions/ledger.csv"))["mine"]
    assert (entry.competition, entry.public) == ("tiny", 0.98412) and entry.message.startswith("by hand | ")


def test_without_the_competitions_name_it_says_which_key_to_set(mine, run_cli, kaggle_server):
    status, out, err = run_cli("comp", *mine)
    assert (status, out) == (2, "") and "set submit.kaggle" in err and err.count("\n") == 1
    assert not kaggle_server.asked


def test_interrupted_while_it_waits_the_same_command_goes_on(mine, run_cli, kaggle_server, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    command = [*mine, f"submit.kaggle={COMPETITION}"]
    with monkeypatch.context() as patch:
        patch.setattr(push.time, "sleep", interrupt)
        status, _, err = run_cli("comp", *command)
    assert status == 130 and "the same command again" in err
    assert run_cli("comp", *command)[0] == 0 and len(kaggle_server.submissions) == 1


def test_killed_while_the_service_takes_the_file_it_is_not_sent_twice(mine, run_cli, kaggle_server, workspace):
    taken, create = threading.Event(), kaggle_server._CreateSubmission

    def take_and_say_nothing(sent):
        answer = create(sent)
        taken.set()
        time.sleep(20)
        return answer

    kaggle_server._CreateSubmission = take_and_say_nothing
    command = [*mine, f"submit.kaggle={COMPETITION}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "comp", *command], env={**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    )
    assert taken.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workspace / "runs/demo-submissions/ledger.csv").exists()
    status, out, _ = run_cli("comp", *command)
    assert status == 0 and "was sent already" in out and len(kaggle_server.submissions) == 1
    assert [event.event for event in ledger.read(workspace / "runs/demo-submissions/ledger.csv")] == ["sent", "scored"]
