"""The number of files that may still be sent today. Kaggle's days end at midnight UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from comp.records.submission import Competition
from comp.submit import kaggle, ledger
from comp.submit.kaggle import Quota
from comp.submit.ledger_lines import parse_time


def remaining_today(competition: Competition, kaggle_name: str) -> Quota:
    """Return Kaggle's own quota; if Kaggle does not report one, submit.per_day minus the files sent today.

    Those are counted in Kaggle's list and in the ledger; the larger number counts. Files that Kaggle could not score
    are not counted against the quota.
    """
    limits = kaggle.fetch_quota(kaggle_name)
    if limits:
        return limits
    today = _now().date()
    recent = takewhile(lambda submission: submission.date.date() >= today, kaggle.list_submissions(kaggle_name))
    statuses = [submission.status for submission in recent]
    in_ledger = sum(
        event.event == "sent"
        and event.competition == competition.name
        and parse_time(event.time).astimezone(UTC).date() == today
        for event in ledger.read(Path(competition.ledger))
    )
    sent = max(len(statuses), in_ledger) - statuses.count("error")
    return Quota(competition.per_day - sent, is_total_exhausted=False)


def quota_message(quota: Quota) -> str:
    """Return when the next file may be sent, for a quota without remaining files."""
    if quota.is_total_exhausted:
        return "this team has used all the submissions that the competition allows"
    now = _now()
    minutes = 24 * 60 - (60 * now.hour + now.minute)  # in UTC every day has 24 hours
    return f"today's quota (UTC) is used up; it is renewed at 00:00 UTC, in {minutes // 60} h {minutes % 60:02} min"


def _now() -> datetime:
    return datetime.now(UTC)
