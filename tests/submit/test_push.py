"""A file is sent to Kaggle once, also after kills and lost answers: the official client against a local server."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from comp.errors import UserError
from comp.submit import ledger, push
from tests.conftest import REPO_ROOT
from tests.kaggle_service import COMPETITION
from tests.submit.pushing import ERROR, NOON, SUSPICIOUS, append, events, recorded, send


def test_push_new_file_is_sent_scored_and_recorded(kaggle_server, report, capfd):
    kaggle_server.limits = {"numToday": 1, "numTotal": 1, "numAllowedNow": 4}
    assert send(report) == 0
    assert (
        kaggle_server.submissions[0]["description"] == f"mine | accuracy 0.9484 [0.931, 0.963] | {report.sha256[:12]}"
    )
    assert list(kaggle_server.blobs.values()) == [report.file.read_bytes()]
    assert recorded(report) == [("sent", None, None), ("scored", 0.98412, None)]
    entry = ledger.latest_entries(events(report))["mine"]
    assert (entry.sent_sha256, entry.public, entry.cv_low) == (report.sha256, 0.98412, 0.931)
    assert entry.message == kaggle_server.submissions[0]["description"]
    out, err = capfd.readouterr()
    assert "3 more may be sent today" in out and "public 0.98412, CV (accuracy) 0.9484" in out and not err


def test_format_message_without_cv_is_message_and_hash(report):
    bare = push.prepare_submission(replace(report, manifest=None))
    assert push.format_message(bare, "two\nlines") == f"two lines | {report.sha256[:12]}"
    assert push.format_message(bare, "") == report.sha256[:12]


def test_push_again_sends_and_records_nothing(kaggle_server, report, capfd):
    send(report)
    assert send(report) == 0 and send(report, SUSPICIOUS) == 0 and send(report, SUSPICIOUS, yes=True) == 0
    assert len(kaggle_server.submissions) == 1 and len(recorded(report)) == 2
    assert "was sent already" in capfd.readouterr().out
    before = kaggle_server.count_requests("ListSubmissions")
    send(report)
    assert kaggle_server.count_requests("ListSubmissions") == before + 1  # it has a score: nothing to wait for


def test_push_again_records_later_private_score(kaggle_server, report):
    send(report)
    kaggle_server.submissions[0]["privateScore"] = "0.97"
    assert send(report) == 0
    assert recorded(report)[-1] == ("scored", 0.98412, 0.97)


def test_push_killed_between_upload_and_ledger_does_not_send_twice(kaggle_server, report, monkeypatch):
    original = ledger.append

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        send(report)
    monkeypatch.setattr(ledger, "append", original)
    assert recorded(report) == [] and len(kaggle_server.submissions) == 1
    kaggle_server.submissions[0]["date"] = "2026-03-14T15:48:00.5Z"
    assert send(report) == 0
    assert len(kaggle_server.submissions) == 1 and kaggle_server.count_requests("PUT") == 1
    assert recorded(report) == [("sent", None, None), ("scored", 0.98412, None)]
    assert events(report)[0].time == NOON.isoformat()


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler: handler.drop(),
        lambda handler: handler.send(200, "{}"),
        lambda handler: handler.refuse(500, "Internal"),
    ],
)
def test_push_lost_response_does_not_send_twice(kaggle_server, report, answer):
    def accept(handler):
        kaggle_server.add(push.format_message(push.prepare_submission(report), "mine"), status="PENDING")
        answer(handler)

    kaggle_server.overrides = {"CreateSubmission": accept}
    with pytest.raises(UserError, match=r"the same command.* checks first whether the file has arrived"):
        send(report)
    kaggle_server.overrides = {}
    assert send(report) == 0 and len(kaggle_server.submissions) == 1


def test_push_timeout_then_again_waits_on(kaggle_server, report, capfd):
    kaggle_server.polls = 10**6
    assert send(report, timeout=0.1) == 1
    assert "run the same command again to continue waiting" in capfd.readouterr().out
    assert recorded(report) == [("sent", None, None)]
    kaggle_server.polls = 0
    assert send(report) == 0
    assert len(kaggle_server.submissions) == 1 and recorded(report)[-1] == ("scored", 0.98412, None)


def test_push_temporary_error_while_waiting_is_ignored(kaggle_server, report):
    def fail_once(handler):
        del kaggle_server.overrides["ListSubmissions"]
        handler.refuse(503, "Unavailable")

    def accept(handler):
        kaggle_server.overrides = {"ListSubmissions": fail_once}
        handler.send(200, '{"message": "", "ref": 7}')
        kaggle_server.add(push.format_message(push.prepare_submission(report), "mine"), status="PENDING")

    kaggle_server.overrides = {"CreateSubmission": accept}
    assert send(report) == 0 and recorded(report)[-1] == ("scored", 0.98412, None)


def test_push_scoring_error_is_recorded_and_sent_again_only_with_yes(kaggle_server, report, capfd):
    kaggle_server.scoring_error = "ERROR: Unable to find 1000 required key values"
    assert send(report) == 1
    assert kaggle_server.scoring_error in capfd.readouterr().out
    assert send(report) == 1 and len(kaggle_server.submissions) == 1 and len(recorded(report)) == 2
    assert events(report)[-1].message == f"Kaggle could not score it: {kaggle_server.scoring_error}"
    assert send(report, ERROR, yes=True) == 1 and len(kaggle_server.submissions) == 1
    kaggle_server.scoring_error, list_all, hides = "", kaggle_server._ListSubmissions, iter([True, True])

    def list_late(body):
        """The second try is not listed at once."""
        hide = len(kaggle_server.submissions) == 2 and next(hides, False)
        return {"submissions": kaggle_server.submissions[1:]} if hide else list_all(body)

    kaggle_server._ListSubmissions = list_late
    assert send(report, yes=True) == 0 and len(kaggle_server.submissions) == 2
    assert recorded(report)[-1] == ("scored", 0.98412, None)
    assert send(report, yes=True) == 0 and len(kaggle_server.submissions) == 2


def test_push_refused_file_is_not_sent_without_yes(kaggle_server, report, capfd):
    assert send(report, SUSPICIOUS) == 1 and send(report, ERROR, yes=True) == 1
    assert not kaggle_server.requests and recorded(report) == []
    out = capfd.readouterr().out
    assert SUSPICIOUS.text in out and ERROR.text in out and "--yes" in out
    assert send(report, SUSPICIOUS, yes=True) == 0 and len(kaggle_server.submissions) == 1


def test_push_file_recorded_by_hand_is_not_sent(kaggle_server, report, capfd):
    append(
        report,
        replace(push.prepare_submission(report).event, event="sent", time="2026-03-01T10:00:00+00:00"),
        replace(push.prepare_submission(report).event, event="scored", time="2026-03-01T10:00:00+00:00", public=0.97),
    )
    assert send(report) == 0 and not kaggle_server.submissions
    assert "public 0.97" in capfd.readouterr().out


def test_push_new_content_under_sent_name_is_sent(kaggle_server, report):
    send(report)
    report.file.write_text("id,label\na,2\n")
    edited = replace(report, sha256=hashlib.sha256(report.file.read_bytes()).hexdigest())
    assert push.prepare_submission(edited).event.cv is None, "the manifest's CV is not of this content"
    assert send(edited) == 0
    assert len(kaggle_server.submissions) == 2


def test_push_file_sent_to_another_competition_is_sent(kaggle_server, report):
    append(
        report,
        replace(push.prepare_submission(report).event, event="sent", time=ledger.utc_now(), competition="leaves"),
    )
    assert send(report) == 0 and len(kaggle_server.submissions) == 1


def test_push_copy_under_another_name_records_score_of_first(kaggle_server, report):
    kaggle_server.polls = 10**6
    send(report, timeout=0)
    kaggle_server.polls = 0
    copy = report.file.with_name("copy.csv")
    copy.write_bytes(report.file.read_bytes())
    assert send(replace(report, file=copy, id="copy"), SUSPICIOUS, yes=True) == 0
    assert len(kaggle_server.submissions) == 1 and [event.id for event in events(report)] == ["mine", "mine"]


@pytest.fixture
def push_command(workspace, kaggle_server, monkeypatch) -> list[str]:
    """Write a file for the tiny competition, and return the arguments that send it."""
    monkeypatch.setattr(push, "MIN_POLL_SECONDS", 0.01)
    sample = (workspace / "input/tiny/sample_submission.csv").read_text().splitlines()
    rows = [f"{line.split(',')[0]},{number}" for number, line in enumerate(sample[1:])]
    (workspace / "mine.csv").write_text("\n".join([sample[0], *rows, ""]))
    return ["submit", "push", "mine.csv", "-m", "by hand", "-c", "configs/demo.yaml", "data.root=input/tiny"]


def test_push_command_checks_sends_and_records(push_command, run_cli, kaggle_server, workspace):
    status, out, err = run_cli("comp", *push_command, f"submit.kaggle={COMPETITION}")
    assert (status, err) == (0, ""), out
    assert "it may be sent" in out and "public 0.98412" in out
    assert list(kaggle_server.blobs.values()) == [(workspace / "mine.csv").read_bytes()]
    entry = ledger.latest_entries(ledger.read(workspace / "runs/demo-submissions/ledger.csv"))["mine"]
    assert (entry.competition, entry.public) == ("tiny", 0.98412) and entry.message.startswith("by hand | ")


def test_push_command_without_kaggle_name_names_the_key(push_command, run_cli, kaggle_server):
    status, out, err = run_cli("comp", *push_command)
    assert (status, out) == (2, "") and "set submit.kaggle" in err and err.count("\n") == 1
    assert not kaggle_server.requests


def test_push_command_interrupted_then_again_continues(push_command, run_cli, kaggle_server, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    command = [*push_command, f"submit.kaggle={COMPETITION}"]
    with monkeypatch.context() as patch:
        patch.setattr(push.time, "sleep", interrupt)
        status, _, err = run_cli("comp", *command)
    assert status == 130 and "the same command again" in err
    assert run_cli("comp", *command)[0] == 0 and len(kaggle_server.submissions) == 1


def test_push_command_killed_during_upload_does_not_send_twice(push_command, run_cli, kaggle_server, workspace):
    received, create = threading.Event(), kaggle_server._CreateSubmission

    def receive_without_answer(body):
        answer = create(body)
        received.set()
        time.sleep(20)
        return answer

    kaggle_server._CreateSubmission = receive_without_answer
    command = [*push_command, f"submit.kaggle={COMPETITION}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "comp", *command], env={**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    )
    assert received.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workspace / "runs/demo-submissions/ledger.csv").exists()
    status, out, _ = run_cli("comp", *command)
    assert status == 0 and "was sent already" in out and len(kaggle_server.submissions) == 1
    assert [event.event for event in ledger.read(workspace / "runs/demo-submissions/ledger.csv")] == ["sent", "scored"]


def test_push_score_of_another_metric_is_not_recorded(kaggle_server, report):
    """A log loss of 1.7 would be the best of accuracies."""
    kaggle_server.public = "1.7"
    with pytest.raises(UserError, match=r"the public score 1.7, and accuracy is between 0 and 1; it is not recorded"):
        send(report)
    assert [event.event for event in events(report)] == ["sent"]


@pytest.mark.parametrize(("score", "interval"), [(94.84, (0.9, 0.96)), (0.95, (0.96, 0.9))])
def test_push_cv_that_the_ledger_refuses_is_not_sent(kaggle_server, report, score, interval):
    """After sending, the file would be on Kaggle and not in the ledger."""
    oof = replace(report.manifest.oof, score=score, interval=interval)
    with pytest.raises(UserError, match=r"the ledger cannot record this event of 'mine'"):
        send(replace(report, manifest=replace(report.manifest, oof=oof)))
    assert not kaggle_server.submissions and not events(report)


@pytest.mark.parametrize("timeout", ["nan", "inf", "-1"])
def test_push_timeout_that_never_ends_is_refused(run_cli, timeout):
    status, _, err = run_cli("comp", "submit", "push", "x", "-m", "x", f"--timeout={timeout}")
    assert status == 2 and err.startswith(f"error: --timeout {timeout} is not a number of seconds")
