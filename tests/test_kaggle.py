"""The real client of Kaggle against a small service on this machine: what it answers, and every trouble as one line."""

from __future__ import annotations

import os
import sys
from datetime import UTC

import pytest

from comp.cli import format_error
from comp.errors import UserError
from comp.submit import kaggle
from tests.kaggle_service import COMPETITION, TOKEN


@pytest.fixture
def listed(kaggle_server):
    """What becomes of a question to a service that answers it in its own way."""

    def ask(**instead) -> str:
        kaggle_server.instead = instead
        with pytest.raises(UserError) as trouble:
            list(kaggle.list_submissions(COMPETITION))
        line = format_error(trouble.value)
        assert "\n" not in line and len(line) < 400
        return line

    return ask


def test_every_submission_is_listed_though_the_service_sends_fifty_at_a_time(kaggle_server):
    for number in range(120):
        kaggle_server.add(f"file {number}", publicScore="0.5", privateScore="0.25")
    rows = list(kaggle.list_submissions(COMPETITION))
    assert [row.message for row in rows] == [f"file {number}" for number in reversed(range(120))]
    assert rows[0].date.tzinfo is UTC and (rows[0].public, rows[0].private, rows[0].status) == (0.5, 0.25, "complete")
    assert rows[0].file == "mine.csv"


def test_the_list_ends_where_the_service_knows_no_pages(kaggle_server):
    kaggle_server.add("only one")
    page = kaggle_server._ListSubmissions({})
    kaggle_server._ListSubmissions = lambda sent: page
    assert len(list(kaggle.list_submissions(COMPETITION))) == 1


def test_a_file_is_uploaded_as_it_is(kaggle_server, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "mine.csv").write_bytes(content)
    assert kaggle.upload(COMPETITION, tmp_path / "mine.csv", "a word") == 1000
    assert kaggle_server.submissions[0]["description"] == "a word"
    assert kaggle_server.blobs == {kaggle_server.submissions[0]["blob"]: content}


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"numToday": 2, "numTotal": 12, "numAllowedNow": 3}, kaggle.Quota(3, False)),
        ({"numToday": 5, "numTotal": 12}, kaggle.Quota(0, False)),
        ({"numTotal": 100, "limitedByTotal": True}, kaggle.Quota(0, True)),
        ({}, None),  # all zero: a team that has sent nothing
        (None, None),  # a service that does not tell
    ],
)
def test_what_is_left_today_is_asked_of_the_service(kaggle_server, limits, left):
    kaggle_server.limits = limits
    assert kaggle.fetch_quota(COMPETITION) == left


@pytest.mark.parametrize("place", ["KAGGLE_API_TOKEN", "access_token", "kaggle.json"])
def test_a_key_is_found_where_the_client_looks(kaggle_server, tmp_path, monkeypatch, place):
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
    assert list(kaggle.list_submissions(COMPETITION)) == []


def test_without_a_key_it_says_where_one_goes_and_asks_nothing(kaggle_server, monkeypatch, listed, capfd):
    monkeypatch.delenv("KAGGLE_USERNAME")
    assert listed().startswith("there is no key for Kaggle; make an API token at https://www.kaggle.com/settings/api ")
    assert capfd.readouterr() == ("", "") and not kaggle_server.asked


def test_an_expired_token_is_named_with_its_place(kaggle_server, monkeypatch, listed):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_of-yesterday")
    assert "the API token in KAGGLE_API_TOKEN" in listed()


def test_a_wrong_key_is_refused_in_one_line(kaggle_server, monkeypatch, listed):
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    assert "does not accept the key (401: Unauthenticated)" in listed()


def test_without_the_package_it_says_how_to_install_it(kaggle_server, monkeypatch, listed):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    assert listed() == "the package kaggle is missing; pip install -e '.[kaggle]' installs it"


def test_a_home_without_room_for_the_clients_settings_is_named(kaggle_server, monkeypatch, tmp_path, listed):
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "full").write_text("")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "full" / "kaggle"))
    assert listed() == f"Not a directory ({tmp_path}/full/kaggle); fix the cause and run the same command again"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            lambda it: it.refuse(403, "You must accept this competition's rules"),
            "accept the rules at https://www.kaggle.com/"
            "competitions/blood-cells-2026/rules, and see whether 'blood-cells-2026' is right",
        ),
        (
            lambda it: it.refuse(404, "NotFound"),
            "knows no competition 'blood-cells-2026' (404: NotFound); submit.kaggle",
        ),
        (lambda it: it.refuse(400, "Past the\ndeadline"), "Kaggle refuses (400: Past the deadline)"),
        (lambda it: it.say(400, "", "text/plain"), "Kaggle refuses (400: Bad Request)"),
        (
            lambda it: it.refuse(429, "TooManyRequests", **{"Retry-After": "40"}),
            "(429: TooManyRequests); give the same command again in 40 s",
        ),
        (lambda it: it.say(503, "<html>", "text/html"), "trouble of its own (503: Service Unavailable)"),
        (lambda it: it.say(200, "<html>Log in", "text/html"), "answer cannot be understood (JSONDecodeError"),
        (lambda it: it.say(200, "{broken"), "answer cannot be understood (JSONDecodeError"),
        (lambda it: it.say(200, '{"submissions": [{"status": "MELTED"}]}'), "answer cannot be understood (KeyError"),
        (lambda it: it.drop(), "cannot be reached (Remote end closed connection without response)"),
    ],
)
def test_trouble_of_the_service_is_one_line_that_says_what_to_do(listed, answer, line):
    assert line in listed(ListSubmissions=answer)


def test_a_service_that_never_answers_is_given_up(listed, monkeypatch):
    monkeypatch.setattr(kaggle, "REQUEST_TIMEOUT", 0.3)
    assert (
        listed(ListSubmissions=lambda it: it.hang(2))
        == "Kaggle has not answered within 0.3 s; give the same command again later"
    )


def test_a_service_that_is_not_there_is_told(kaggle_server, listed):
    kaggle_server.server.server_close()
    kaggle_server.server.shutdown()
    assert "cannot be reached (Connection refused)" in listed()


def test_a_large_file_is_given_more_time(kaggle_server, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "REQUEST_TIMEOUT", 0.1)
    monkeypatch.setattr(kaggle, "MIN_BYTES_PER_SECOND", 100)
    kaggle_server.instead = {"PUT": lambda it: (it.hang(0.3), it.say(200, "{}"))}
    (tmp_path / "mine.csv").write_text("x" * 200)
    assert kaggle.upload(COMPETITION, tmp_path / "mine.csv", "a word") == 1000


@pytest.mark.parametrize("status", [403, 503])
def test_an_upload_that_breaks_off_submits_nothing(kaggle_server, tmp_path, status):
    kaggle_server.instead = {"PUT": lambda it: it.say(status, "no")}
    (tmp_path / "mine.csv").write_text("id,label\n")
    with pytest.raises(UserError, match="the upload broke off"):
        kaggle.upload(COMPETITION, tmp_path / "mine.csv", "")
    assert not kaggle_server.submissions
