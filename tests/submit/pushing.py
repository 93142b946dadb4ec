"""Send a report, and read what the ledger records of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from comp.submit import ledger, push
from comp.submit.check import SubmissionReport
from comp.submit.format_checks import SubmissionIssue
from comp.submit.ledger_lines import Event

NOON = datetime(2026, 3, 14, 15, 48, tzinfo=UTC)
SUSPICIOUS = SubmissionIssue("suspicious", "every row has the label RBC")
ERROR = SubmissionIssue("error", "its ids are missing")


def append(report: SubmissionReport, *events: Event) -> None:
    ledger.append(Path(report.competition.ledger), *events)


def events(report: SubmissionReport) -> list[Event]:
    return ledger.read(Path(report.competition.ledger))


def send(report: SubmissionReport, *issues: SubmissionIssue, yes=False, timeout=10.0) -> int:
    return push.push(replace(report, issues=issues, allow_suspicious=yes), "mine", timeout)


def recorded(report: SubmissionReport) -> list[tuple]:
    return [(event.event, event.public, event.private) for event in events(report)]
