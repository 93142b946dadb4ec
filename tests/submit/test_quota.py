"""No submission is sent beyond the quota of the day."""

from __future__ import annotations

import pytest

from comp.submit import quota
from comp.submit.kaggle import Quota
from comp.submit.ledger_lines import Event
from tests.submit.pushing import NOON, append, recorded, send


@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(quota, "_now", lambda: NOON)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"numToday": 5, "numTotal": 9}, "it is renewed at 00:00 UTC, in 8 h 12 min"),
        ({"numToday": 5, "numTotal": 90, "limitedByTotal": True}, "all the submissions that the competition allows"),
    ],
)
def test_push_kaggle_quota_exhausted_is_not_sent(kaggle_server, report, noon, capfd, limits, message):
    kaggle_server.limits = limits
    assert send(report, yes=True) == 1
    assert message in capfd.readouterr().out and not kaggle_server.submissions and recorded(report) == []


@pytest.mark.parametrize(
    ("listed", "errors", "in_ledger", "status"),
    [(5, 0, 0, 1), (4, 0, 0, 0), (4, 3, 0, 0), (0, 0, 5, 1), (0, 0, 4, 0), (3, 0, 3, 0), (4, 2, 6, 0), (4, 1, 6, 1)],
)
def test_push_without_kaggle_quota_counts_list_and_ledger(
    kaggle_server, report, noon, capfd, listed, errors, in_ledger, status
):
    for _ in range(7):
        kaggle_server.add("yesterday", NOON.replace(day=13, hour=23))
    for number in range(listed):
        kaggle_server.add("today", NOON.replace(hour=1), "ERROR" if number < errors else "COMPLETE")
    for number in range(in_ledger):  # 00:30 in Berlin on the 15th is still the 14th in UTC
        append(report, Event(f"other{number}", "2026-03-15T00:30:00+01:00", "sent", competition="blood-cells"))
    append(
        report,
        Event("before", "2026-03-13T23:59:00", "sent", competition="blood-cells"),
        Event("elsewhere", NOON.isoformat(), "sent", competition="leaves"),
    )
    assert send(report) == status
    assert ("in 8 h 12 min" in capfd.readouterr().out) == bool(status)


@pytest.mark.parametrize(
    ("hour", "minute", "left"),
    [(0, 0, "24 h 00 min"), (15, 48, "8 h 12 min"), (22, 55, "1 h 05 min"), (23, 59, "0 h 01 min")],
)
def test_quota_message_has_the_time_to_midnight_rounded_up(monkeypatch, hour, minute, left):
    monkeypatch.setattr(quota, "_now", lambda: NOON.replace(hour=hour, minute=minute, second=30))
    assert quota.quota_message(Quota(0, False)).endswith(f"renewed at 00:00 UTC, in {left}")
