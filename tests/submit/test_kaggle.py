"""The official Kaggle client against a local server: its answers, and every failure as one line."""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC

import pytest
import requests

from comp.cli import format_error
from comp.errors import UserError
from comp.submit import kaggle
from comp.submit.kaggle_errors import KaggleTemporaryError, to_user_error
from tests.kaggle_service import COMPETITION, TOKEN


@pytest.fixture
def list_error(kaggle_server):
    """Return a function that gives the error of listing when the server sends other answers."""

    def call(**overrides) -> str:
        kaggle_server.overrides = overrides
        with pytest.raises(UserError) as raised:
            list(kaggle.list_submissions(COMPETITION))
        line = format_error(raised.value)
        assert "\n" not in line and len(line) < 400
        return line

    return call


def test_list_submissions_several_pages_gives_all(kaggle_server):
    for number in range(120):
        kaggle_server.add(f"file {number}", publicScore="0.5", privateScore="0.25")
    rows = list(kaggle.list_submissions(COMPETITION))
    assert [row.message for row in rows] == [f"file {number}" for number in reversed(range(120))]
    assert rows[0].date.tzinfo is UTC and (rows[0].public, rows[0].private, rows[0].status) == (0.5, 0.25, "complete")
    assert rows[0].file == "mine.csv"


def test_list_submissions_service_without_pages_ends(kaggle_server):
    kaggle_server.add("only one")
    page = kaggle_server._ListSubmissions({})
    kaggle_server._ListSubmissions = lambda sent: page
    assert len(list(kaggle.list_submissions(COMPETITION))) == 1


def test_upload_sends_exact_bytes(kaggle_server, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "mine.csv").write_bytes(content)
    assert kaggle.upload(COMPETITION, tmp_path / "mine.csv", "a message") == 1000
    assert kaggle_server.submissions[0]["description"] == "a message"
    assert kaggle_server.blobs == {kaggle_server.submissions[0]["blob"]: content}


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({"numToday": 2, "numTotal": 12, "numAllowedNow": 3}, kaggle.Quota(3, False)),
        ({"numToday": 5, "numTotal": 12}, kaggle.Quota(0, False)),
        ({"numTotal": 100, "limitedByTotal": True}, kaggle.Quota(0, True)),
        ({}, None),  # all zero: a team that has sent nothing yet
        (None, None),  # a service that does not report it
    ],
)
def test_fetch_quota_service_limits_give_quota(kaggle_server, limits, quota):
    kaggle_server.limits = limits
    assert kaggle.fetch_quota(COMPETITION) == quota


@pytest.mark.parametrize("source", ["KAGGLE_API_TOKEN", "access_token", "kaggle.json"])
def test_list_submissions_key_of_each_source_is_used(kaggle_server, tmp_path, monkeypatch, source):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    home = tmp_path / "home" / ".kaggle"
    home.mkdir(parents=True)
    if source == "KAGGLE_API_TOKEN":
        monkeypatch.setenv(source, TOKEN)
    elif source == "access_token":
        (home / source).write_text(TOKEN + "\n")
    else:
        (home / source).write_text('{"username": "ada", "key": "a-legacy-key"}')
        (home / source).chmod(0o600)
        import kaggle as client

        monkeypatch.setattr(client.KaggleApi, "config", str(home / source))  # found once, at its import
    assert list(kaggle.list_submissions(COMPETITION)) == []


def test_list_submissions_without_key_tells_where_to_put_one(kaggle_server, monkeypatch, list_error, capfd):
    monkeypatch.delenv("KAGGLE_USERNAME")
    assert list_error().startswith(
        "no key for Kaggle was found; create an API token at https://www.kaggle.com/settings/api "
    )
    assert capfd.readouterr() == ("", "") and not kaggle_server.requests


def test_list_submissions_expired_token_is_named_with_its_source(kaggle_server, monkeypatch, list_error):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_of-yesterday")
    assert "the API token in KAGGLE_API_TOKEN" in list_error()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", 'must be {"username": "...", "key": "..."}'),
        ('{"username": 3}', 'must be {"username": "...", "key": "..."}'),
        (None, "is a pipe"),
    ],
)
def test_list_submissions_broken_key_file_is_named(kaggle_server, tmp_path, monkeypatch, list_error, content, message):
    """The client ignores such a file, and so would ask for the key that is there."""
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    path = tmp_path / "kaggle.json"
    os.mkfifo(path) if content is None else path.write_text(content)
    line = list_error()
    assert str(path) in line and message in line and not kaggle_server.requests


def test_list_submissions_wrong_key_is_one_line(kaggle_server, monkeypatch, list_error):
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    assert "does not accept the key (401: Unauthenticated)" in list_error()


def test_list_submissions_without_package_tells_how_to_install(kaggle_server, monkeypatch, list_error):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    assert list_error() == "the package kaggle is missing; install it with: pip install -e '.[kaggle]'"


def test_list_submissions_unwritable_config_directory_is_named(kaggle_server, monkeypatch, tmp_path, list_error):
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "full").write_text("")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "full" / "kaggle"))
    file = tmp_path / "full" / "kaggle" / "kaggle.json"
    assert list_error() == f"{file} cannot be read: a part of its path is not a folder; fix that, or name another file"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            lambda handler: handler.refuse(403, "You must accept this competition's rules"),
            "accept the rules at https://www.kaggle.com/"
            "competitions/blood-cells-2026/rules, and check that 'blood-cells-2026' is right",
        ),
        (
            lambda handler: handler.refuse(404, "NotFound"),
            "has no competition 'blood-cells-2026' (404: NotFound); set submit.kaggle",
        ),
        (
            lambda handler: handler.refuse(400, "Past the\ndeadline"),
            "Kaggle refuses the request (400: Past the deadline)",
        ),
        (lambda handler: handler.send(400, "", "text/plain"), "Kaggle refuses the request (400: Bad Request)"),
        (
            lambda handler: handler.refuse(429, "TooManyRequests", **{"Retry-After": "40"}),
            "(429: TooManyRequests); run the same command again in 40 s",
        ),
        (lambda handler: handler.send(503, "<html>", "text/html"), "an internal error (503: Service Unavailable)"),
        (lambda handler: handler.send(200, "<html>Log in", "text/html"), "answer cannot be parsed (JSONDecodeError"),
        (lambda handler: handler.send(200, "{broken"), "answer cannot be parsed (JSONDecodeError"),
        (
            lambda handler: handler.send(200, '{"submissions": [{"status": "MELTED"}]}'),
            "answer cannot be parsed (KeyError",
        ),
        (lambda handler: handler.drop(), "cannot be reached (Remote end closed connection without response)"),
    ],
)
def test_list_submissions_service_error_is_one_line(list_error, answer, line):
    assert line in list_error(ListSubmissions=answer)


def test_list_submissions_hanging_service_times_out(list_error, monkeypatch):
    monkeypatch.setattr(kaggle, "REQUEST_TIMEOUT", 0.3)
    assert (
        list_error(ListSubmissions=lambda handler: handler.hang(2))
        == "Kaggle has not answered within 0.3 s; run the same command again later"
    )
    waiting = [thread for thread in threading.enumerate() if "_call_client" in thread.name or "(call)" in thread.name]
    assert waiting and all(thread.daemon for thread in waiting)  # the program can end without the answer


def test_list_submissions_no_service_is_one_line(kaggle_server, list_error):
    kaggle_server.server.server_close()
    kaggle_server.server.shutdown()
    assert "cannot be reached (Connection refused)" in list_error()


def test_upload_large_file_gets_more_time(kaggle_server, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "REQUEST_TIMEOUT", 0.1)
    monkeypatch.setattr(kaggle, "MIN_BYTES_PER_SECOND", 100)
    kaggle_server.overrides = {"PUT": lambda handler: (handler.hang(0.3), handler.send(200, "{}"))}
    (tmp_path / "mine.csv").write_text("x" * 200)
    assert kaggle.upload(COMPETITION, tmp_path / "mine.csv", "a message") == 1000


@pytest.mark.parametrize("status", [403, 503])
def test_upload_broken_off_submits_nothing(kaggle_server, tmp_path, status):
    kaggle_server.overrides = {"PUT": lambda handler: handler.send(status, "no")}
    (tmp_path / "mine.csv").write_text("id,label\n")
    with pytest.raises(UserError, match="the upload ended before Kaggle received"):
        kaggle.upload(COMPETITION, tmp_path / "mine.csv", "")
    assert not kaggle_server.submissions


@pytest.mark.parametrize(("size", "seconds"), [(0, 60), (100_000, 62), (50_000_000, 1060)])
def test_upload_may_take_a_minute_and_a_second_per_50_kilobytes(tmp_path, monkeypatch, size, seconds):
    with open(tmp_path / "mine.csv", "wb") as file:
        file.truncate(size)
    allowed = []
    monkeypatch.setattr(kaggle, "_call_client", lambda competition, request, timeout: allowed.append(timeout))
    kaggle.upload(COMPETITION, tmp_path / "mine.csv", "a message")
    assert allowed == [seconds]


def test_list_submissions_asks_for_pages_of_the_size_that_the_service_sends(kaggle_server):
    pages, answer = [], kaggle_server._ListSubmissions
    kaggle_server._ListSubmissions = lambda sent: pages.append((sent.get("page"), sent["pageSize"])) or answer(sent)
    kaggle_server.add("only one")
    list(kaggle.list_submissions(COMPETITION))
    assert pages == [(1, 50), (2, 50)]


def test_list_submissions_row_without_texts_has_empty_ones(kaggle_server):
    kaggle_server.add("", status="PENDING", fileName=None, publicScore="", privateScore="0.0")
    [row] = kaggle.list_submissions(COMPETITION)
    assert (row.file, row.message, row.reason, row.status) == ("", "", "", "pending")
    assert (row.public, row.private) == (None, 0.0)


def test_upload_without_a_number_may_be_run_again(kaggle_server, tmp_path):
    kaggle_server.overrides = {"CreateSubmission": lambda handler: handler.send(200, '{"message": "", "ref": 0}')}
    (tmp_path / "mine.csv").write_text("id,label\n")
    with pytest.raises(KaggleTemporaryError, match="gave the file no number"):
        kaggle.upload(COMPETITION, tmp_path / "mine.csv", "")


def test_list_submissions_long_message_is_cut(list_error):
    assert f"(400: {'x' * 200}); " in list_error(ListSubmissions=lambda handler: handler.refuse(400, "x" * 500))


def test_list_submissions_too_many_requests_without_a_time_are_some_minutes(list_error):
    line = list_error(ListSubmissions=lambda handler: handler.refuse(429, "TooManyRequests"))
    assert line.endswith("run the same command again in some minutes")


@pytest.mark.parametrize(
    ("error", "is_temporary", "line"),
    [
        (requests.Timeout("slow"), True, "Kaggle does not answer in time; run the same command again later"),
        (requests.HTTPError("no response"), False, "Kaggle's answer cannot be parsed (HTTPError: no response)"),
        (ValueError("x" * 500), False, f"(ValueError: {'x' * 120}); a login page"),
        (requests.ConnectionError("by its text"), True, "Kaggle cannot be reached (by its text); check the network"),
    ],
)
def test_to_user_error_of_other_failures_is_one_line(error, is_temporary, line):
    user_error = to_user_error(error, COMPETITION)
    assert line in str(user_error) and isinstance(user_error, KaggleTemporaryError) == is_temporary
