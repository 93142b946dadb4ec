"""How many more files may be sent today; Kaggle's days end at midnight UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

from comp.submit import kaggle, ledger
from comp.submit.competition import Competition
from comp.submit.kaggle import Quota


def remaining_today(competition: Competition) -> Quota:
    """What the service tells; else what the config allows, less what the service's list has of today.

    The ledger has its say where it knows of more. What the service could not score costs nothing.
    """
    told = kaggle.fetch_quota(competition.kaggle)
    if told:
        return told
    today = _now().date()
    recent = takewhile(lambda row: row.date.date() >= today, kaggle.list_submissions(competition.kaggle))
    listed = [row.status for row in recent]
    noted = sum(
        event.event == "sent"
        and event.competition == competition.name
        and ledger.parse_time(event.time).astimezone(UTC).date() == today
        for event in ledger.read(Path(competition.ledger))
    )
    return Quota(competition.per_day - max(len(listed), noted) + listed.count("error"), for_good=False)


def quota_message(left: Quota) -> str:
    """When the next file may be sent."""
    if left.for_good:
        return "this team has used up all the files that the competition takes"
    midnight = (_now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = int((midnight - _now()).total_seconds() // 60) + 1
    return f"today's files (UTC) are used up; the next is free at 00:00 UTC, in {minutes // 60} h {minutes % 60:02} min"


def _now() -> datetime:
    return datetime.now(UTC)
