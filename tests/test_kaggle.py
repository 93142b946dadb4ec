"""The real client of Kaggle against a small service on this machine: a file is sent once, every trouble is a line."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comp.cli import one_line
from comp.errors import UserError
from comp.submit import kaggle, ledger, push, quota
from comp.submit.competition import Competition
from comp.submit.ledger import Event
from tests.kaggle_service import COMPETITION, TOKEN, Service

HOUSE = Path(__file__).resolve().parents[1]
NOON = datetime(2026, 3, 14, 15, 48, tzinfo=UTC)


@pytest.fixture
def service(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.lower().startswith(("kaggle_", "no_proxy", "all_proxy"))]:
        monkeypatch.delenv(name)
    service = Service()
    for name, value in service.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    connect = socket.socket.connect

    def guarded(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", f"a test reached for {address}"
        return connect(self, address)
    monkeypatch.setattr(socket.socket, "connect", guarded)
    kaggle._client.cache_clear()
    yield service
    kaggle._client.cache_clear()
    service.close()
    assert not service.strayed


@pytest.fixture
def listed(service):
    """What becomes of a question to a service that answers it in its own way."""
    def ask(**instead) -> str:
        service.instead = instead
        with pytest.raises(UserError) as trouble:
            list(kaggle.submissions(COMPETITION))
        line = one_line(trouble.value)
        assert "\n" not in line and len(line) < 400
        return line
    return ask


# the client

def test_every_submission_is_listed_though_the_service_sends_fifty_at_a_time(service):
    for number in range(120):
        service.add(f"file {number}", publicScore="0.5", privateScore="0.25")
    rows = list(kaggle.submissions(COMPETITION))
    assert [row.message for row in rows] == [f"file {number}" for number in reversed(range(120))]
    assert rows[0].date.tzinfo is UTC and (rows[0].public, rows[0].private, rows[0].status) == (0.5, 0.25, "complete")
    assert rows[0].file == "mine.csv"


def test_the_list_ends_where_the_service_knows_no_pages(service):
    service.add("only one")
    page = service._ListSubmissions({})
    service._ListSubmissions = lambda sent: page
    assert len(list(kaggle.submissions(COMPETITION))) == 1


def test_a_file_is_uploaded_as_it_is(service, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "mine.csv").write_bytes(content)
    assert kaggle.upload(COMPETITION, tmp_path / "mine.csv", "a word") == 1000
    assert service.submissions[0]["description"] == "a word"
    assert service.blobs == {service.submissions[0]["blob"]: content}


@pytest.mark.parametrize(("limits", "left"), [
    ({"numToday": 2, "numTotal": 12, "numAllowedNow": 3}, kaggle.Left(3, False)),
    ({"numToday": 5, "numTotal": 12}, kaggle.Left(0, False)),
    ({"numTotal": 100, "limitedByTotal": True}, kaggle.Left(0, True)),
    ({}, None),      # all zero: a team that has sent nothing
    (None, None),    # a service that does not tell
])
def test_what_is_left_today_is_asked_of_the_service(service, limits, left):
    service.limits = limits
    assert kaggle.left_today(COMPETITION) == left


@pytest.mark.parametrize("place", ["KAGGLE_API_TOKEN", "access_token", "kaggle.json"])
def test_a_key_is_found_where_the_client_looks(service, tmp_path, monkeypatch, place):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    home = tmp_path / "home" / ".kaggle"
    home.mkdir(parents=True)
    if place == "KAGGLE_API_TOKEN":
        monkeypatch.setenv(place, TOKEN)
    elif place == "access_token":
        (home / place).write_text(TOKEN + "\n")
    else:
        (home / place).write_text('{"username": "ada", "key": "a-legacy-key"}')
        (home / place).chmod(0o600)
        import kaggle as client
        monkeypatch.setattr(client.KaggleApi, "config", str(home / place))  # found once, at its import
    assert list(kaggle.submissions(COMPETITION)) == []


def test_without_a_key_it_says_where_one_goes_and_asks_nothing(service, monkeypatch, listed, capfd):
    monkeypatch.delenv("KAGGLE_USERNAME")
    assert listed().startswith("there is no key for Kaggle; make an API token at https://www.kaggle.com/settings/api ")
    assert capfd.readouterr() == ("", "") and not service.asked


def test_an_expired_token_is_named_with_its_place(service, monkeypatch, listed):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_of-yesterday")
    assert "the API token in KAGGLE_API_TOKEN" in listed()


def test_a_wrong_key_is_refused_in_one_line(service, monkeypatch, listed):
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    assert "does not accept the key (401: Unauthenticated)" in listed()


def test_without_the_package_it_says_how_to_install_it(service, monkeypatch, listed):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    assert listed() == "the package kaggle is missing; pip install -e '.[kaggle]' installs it"


@pytest.mark.parametrize(("answer", "line"), [
    (lambda it: it.refuse(403, "You must accept this competition's rules"), "accept the rules at https://www.kaggle.com/"
     "competitions/blood-cells-2026/rules, and see whether 'blood-cells-2026' is right"),
    (lambda it: it.refuse(404, "NotFound"), "knows no competition 'blood-cells-2026' (404: NotFound); submit.kaggle"),
    (lambda it: it.refuse(400, "Past the\ndeadline"), "Kaggle refuses (400: Past the deadline)"),
    (lambda it: it.say(400, "", "text/plain"), "Kaggle refuses (400: Bad Request)"),
    (lambda it: it.refuse(429, "TooManyRequests", **{"Retry-After": "40"}), "(429: TooManyRequests); give the same "
     "command again in 40 s"),
    (lambda it: it.say(503, "<html>", "text/html"), "trouble of its own (503: Service Unavailable)"),
    (lambda it: it.say(200, "<html>Log in", "text/html"), "answer cannot be understood (JSONDecodeError"),
    (lambda it: it.say(200, "{broken"), "answer cannot be understood (JSONDecodeError"),
    (lambda it: it.say(200, '{"submissions": [{"status": "MELTED"}]}'), "answer cannot be understood (KeyError"),
    (lambda it: it.drop(), "cannot be reached (Remote end closed connection without response)"),
])
def test_trouble_of_the_service_is_one_line_that_says_what_to_do(listed, answer, line):
    assert line in listed(ListSubmissions=answer)


def test_a_service_that_never_answers_is_given_up(listed, monkeypatch):
    monkeypatch.setattr(kaggle, "PATIENCE", 0.3)
    assert listed(ListSubmissions=lambda it: it.hang(2)) == \
        "Kaggle has not answered within 0.3 s; give the same command again later"


def test_a_service_that_is_not_there_is_told(service, listed):
    service.server.server_close()
    service.server.shutdown()
    assert "cannot be reached (Connection refused)" in listed()


@pytest.mark.parametrize("status", [403, 503])
def test_an_upload_that_breaks_off_submits_nothing(service, tmp_path, status):
    service.instead = {"PUT": lambda it: it.say(status, "no")}
    (tmp_path / "mine.csv").write_text("id,label\n")
    with pytest.raises(UserError, match="the upload broke off"):
        kaggle.upload(COMPETITION, tmp_path / "mine.csv", "")
    assert not service.submissions


# the story of a file

@pytest.fixture
def shot(tmp_path, monkeypatch) -> push.Shot:
    monkeypatch.setattr(push, "FIRST_PAUSE", 0.01)
    path = tmp_path / "mine.csv"
    path.write_text("id,label\na,1\n")
    oof = {"metric": "accuracy", "score": 0.9484, "interval": [0.931, 0.963], "naive": 0.95, "images": 3200}
    competition = Competition("blood-cells", "input/blood-cells", str(tmp_path / "ledger.csv"), COMPETITION)
    return push.aim(path, competition, {"oof": oof, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})


def log(shot: push.Shot, *events: Event) -> None:
    ledger.append(Path(shot.competition.ledger), *events)


def events(shot: push.Shot) -> list[Event]:
    return ledger.read(Path(shot.competition.ledger))


def send(shot: push.Shot, *, refused=False, yes=False, timeout=10.0) -> int:
    return push.push(shot, "mine", refused=refused, yes=yes, timeout=timeout)


def noted(shot: push.Shot) -> list[tuple]:
    return [(event.event, event.public, event.private) for event in events(shot)]


def test_a_file_is_sent_waited_for_and_noted(service, shot, capfd):
    service.limits = {"numToday": 1, "numTotal": 1, "numAllowedNow": 4}
    assert send(shot) == 0
    assert service.submissions[0]["description"] == f"mine | accuracy 0.9484 [0.931, 0.963] | {shot.about.sha256[:12]}"
    assert list(service.blobs.values()) == [shot.path.read_bytes()]
    assert noted(shot) == [("sent", None, None), ("scored", 0.98412, None)]
    entry = ledger.latest(events(shot))["mine"]
    assert (entry.sent_sha256, entry.public, entry.cv_low) == (shot.about.sha256, 0.98412, 0.931)
    assert entry.message == service.submissions[0]["description"]
    out, err = capfd.readouterr()
    assert "3 more may follow today" in out and "public 0.98412, CV (accuracy) 0.9484" in out and not err


def test_without_a_cv_the_message_is_the_words_and_the_hash(shot):
    bare = push.aim(shot.path, shot.competition, None)
    assert push.wording(bare, "two\nlines") == f"two lines | {shot.about.sha256[:12]}"
    assert push.wording(bare, "") == shot.about.sha256[:12]


def test_given_again_nothing_is_sent_and_nothing_noted_twice(service, shot, capfd):
    send(shot)
    assert send(shot) == 0 and send(shot, refused=True) == 0 and send(shot, yes=True) == 0
    assert len(service.submissions) == 1 and len(noted(shot)) == 2
    assert "was sent already" in capfd.readouterr().out


def test_a_private_score_that_comes_later_is_noted(service, shot):
    send(shot)
    service.submissions[0]["privateScore"] = "0.97"
    assert send(shot) == 0
    assert noted(shot)[-1] == ("scored", 0.98412, 0.97)


def test_killed_between_the_upload_and_the_ledger_it_is_not_sent_twice(service, shot, monkeypatch):
    real = ledger.append

    def dying(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(ledger, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        send(shot)
    monkeypatch.setattr(ledger, "append", real)
    assert noted(shot) == [] and len(service.submissions) == 1
    assert send(shot) == 0
    assert len(service.submissions) == 1 and service.names("PUT") == 1
    assert noted(shot) == [("sent", None, None), ("scored", 0.98412, None)]
    assert events(shot)[0].time[:19] == service.submissions[0]["date"][:19]


def test_a_lost_answer_does_not_cost_a_second_shot(service, shot):
    def accept_and_drop(handler):
        service.add(push.wording(shot, "mine"), status="PENDING")
        handler.drop()
    service.instead = {"CreateSubmission": accept_and_drop}
    with pytest.raises(UserError, match="looks first whether the file has arrived"):
        send(shot)
    service.instead = {}
    assert send(shot) == 0 and len(service.submissions) == 1


def test_when_the_time_is_up_the_same_command_waits_on(service, shot, capfd):
    service.looks = 10 ** 6
    assert send(shot, timeout=0.1) == 1
    assert "given again, waits on" in capfd.readouterr().out
    assert noted(shot) == [("sent", None, None)]
    service.looks = 0
    assert send(shot) == 0
    assert len(service.submissions) == 1 and noted(shot)[-1] == ("scored", 0.98412, None)


def test_trouble_while_waiting_is_waited_out(service, shot):
    def stumble(handler):
        del service.instead["ListSubmissions"]
        handler.refuse(503, "Unavailable")

    def accept(handler):
        service.instead = {"ListSubmissions": stumble}
        handler.say(200, '{"message": "", "ref": 7}')
        service.add(push.wording(shot, "mine"), status="PENDING")
    service.instead = {"CreateSubmission": accept}
    assert send(shot) == 0 and noted(shot)[-1] == ("scored", 0.98412, None)


def test_what_kaggle_cannot_score_is_told_noted_and_sent_again_only_with_yes(service, shot, capfd):
    service.fault = "ERROR: Unable to find 1000 required key values"
    assert send(shot) == 1
    assert service.fault in capfd.readouterr().out
    assert send(shot) == 1 and len(service.submissions) == 1 and len(noted(shot)) == 2
    assert events(shot)[-1].message == f"Kaggle could not score it: {service.fault}"
    service.fault = ""
    assert send(shot, yes=True) == 0 and len(service.submissions) == 2
    assert noted(shot)[-1] == ("scored", 0.98412, None)
    assert send(shot, yes=True) == 0 and len(service.submissions) == 2


def test_what_the_guard_refuses_is_not_sent_without_yes(service, shot, capfd):
    assert send(shot, refused=True) == 1
    assert not service.asked and noted(shot) == [] and "--yes" in capfd.readouterr().out
    assert send(shot, refused=True, yes=True) == 0 and len(service.submissions) == 1


def test_what_was_sent_and_scored_by_hand_is_not_sent(service, shot, capfd):
    log(shot, replace(shot.about, event="sent", time="2026-03-01T10:00:00+00:00"),
                  replace(shot.about, event="scored", time="2026-03-01T10:00:00+00:00", public=0.97))
    assert send(shot) == 0 and not service.submissions
    assert "public 0.97" in capfd.readouterr().out


def test_a_new_content_under_an_old_name_is_sent(service, shot):
    send(shot)
    shot.path.write_text("id,label\na,2\n")
    edited = push.aim(shot.path, shot.competition, {"oof": {"score": 0.9}, "sha256": shot.about.sha256})
    assert edited.about.cv is None, "the note's CV is not of this content"
    assert send(edited) == 0
    assert len(service.submissions) == 2


# the quota

@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(quota, "_now", lambda: NOON)


@pytest.mark.parametrize(("limits", "words"), [
    ({"numToday": 5, "numTotal": 9}, "the next is free at 00:00 UTC, in 8 h 13 min"),
    ({"numToday": 5, "numTotal": 90, "limitedByTotal": True}, "all the files that the competition takes"),
])
def test_the_services_own_limit_counts(service, shot, noon, capfd, limits, words):
    service.limits = limits
    assert send(shot, yes=True) == 1
    assert words in capfd.readouterr().out and not service.submissions and noted(shot) == []


@pytest.mark.parametrize(("listed", "errors", "in_ledger", "status"), [
    (5, 0, 0, 1), (4, 0, 0, 0), (4, 3, 0, 0), (0, 0, 5, 1), (0, 0, 4, 0), (3, 0, 3, 0), (4, 2, 6, 0), (4, 1, 6, 1)])
def test_where_the_service_does_not_tell_its_list_and_the_ledger_are_counted(
        service, shot, noon, capfd, listed, errors, in_ledger, status):
    for _ in range(7):
        service.add("of yesterday", NOON.replace(day=13, hour=23))
    for number in range(listed):
        service.add("of today", NOON.replace(hour=1), "ERROR" if number < errors else "COMPLETE")
    for number in range(in_ledger):
        # 00:30 in Berlin on the 15th is still the 14th in UTC
        log(shot, replace(shot.about, id=f"other{number}", sha256=f"{number}", event="sent",
                                           time="2026-03-15T00:30:00+01:00"))
    log(shot, replace(shot.about, id="before", sha256="x", event="sent", time="2026-03-13T23:59:00"),
                  replace(shot.about, id="b", sha256="y", event="sent", time=NOON.isoformat(), competition="another"))
    assert send(shot) == status
    assert ("in 8 h 13 min" in capfd.readouterr().out) == bool(status)
