"""A file that was sent is waited for: less and less often, no longer than it may take, in one line that goes away."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from comp.submit import push
from tests.submit.pushing import send


@pytest.fixture
def pauses(report, monkeypatch) -> list[float]:
    """Let Kaggle score nothing, and return the pauses between two requests, by a clock of their own."""
    pauses: list[float] = []
    monkeypatch.setattr(push, "MIN_POLL_SECONDS", 2.0)
    monkeypatch.setattr(push, "time", SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append))
    return pauses


def test_push_asks_for_the_score_less_and_less_often_until_the_time_is_up(kaggle_server, report, capfd, pauses):
    kaggle_server.polls = 10**6
    assert send(report, timeout=300.0) == 1
    assert pauses[:4] == [2, 3, 4.5, 6.75] and max(pauses) == 30 and pauses[-5:] == [30] * 5
    assert 300 - 30 < sum(pauses) <= 300 and kaggle_server.count_requests("ListSubmissions") > len(pauses)
    assert "waiting for its score, 300 s at most" in capfd.readouterr().out


@pytest.mark.parametrize(("timeout", "expected"), [(0, []), (1.9, []), (2, [2]), (4.9, [2]), (5, [2, 3])])
def test_push_waits_no_longer_than_it_may(kaggle_server, report, pauses, timeout, expected):
    kaggle_server.polls = 10**6
    assert send(report, timeout=timeout) == 1 and pauses == expected


def test_push_in_a_terminal_shows_what_it_waits_for_and_removes_the_line(kaggle_server, report, pauses, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    kaggle_server.polls = 10**6
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    send(report, timeout=2)
    shown = terminal.getvalue().split("\r")
    assert "Kaggle is scoring it, 00:00" in shown and "it/s" not in "".join(shown)
    assert shown[-2].strip() == "" and shown[-1] == ""


def test_push_into_a_pipe_shows_what_it_waits_for_before_it_waits(kaggle_server, report, pauses, monkeypatch):
    class Pipe(io.StringIO):
        shown = ""

        def flush(self) -> None:
            self.shown = self.getvalue()

    seen = []
    monkeypatch.setattr(sys, "stdout", pipe := Pipe())
    monkeypatch.setattr(push.time, "sleep", lambda pause: pauses.append(pause) or seen.append(pipe.shown))
    kaggle_server.polls = 10**6
    send(report, timeout=2)
    assert "more may be sent today" in seen[0] and "waiting for its score, 2 s at most" in seen[0]
