"""Turn a score that a person read on the leaderboard into events of the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comp.errors import UserError
from comp.files import file_sha256
from comp.records.submission import Competition
from comp.submit.final import find_entry
from comp.submit.ledger import LedgerEntry, latest_entries, read, utc_now
from comp.submit.ledger_lines import Event, score_problem
from comp.submit.manifest import submission_id
from comp.submit.submission_table import read_table


def resolve_entry(reference: str, competition: Competition) -> LedgerEntry:
    """Return the ledger's entry of a submission, given by path or id.

    A readable submission file that is not in the ledger yet gets a new entry.
    """
    path, ledger = Path(reference), Path(competition.ledger)
    entries = latest_entries(read(ledger))
    if path.is_file() and submission_id(path) not in entries:
        read_table(path)  # raises unless it is a submission
        return LedgerEntry(submission_id(path), competition=competition.name, file=path.as_posix())
    entry = find_entry(reference, entries, ledger)
    if (
        path.is_file()
        and path.resolve() != Path(entry.file).resolve()
        and file_sha256(path) not in (entry.sent_sha256, entry.written_sha256)
    ):
        raise UserError(f"{path} is not {entry.file}, which is {entry.id} in {ledger}; rename it")
    return entry


def score_events(
    entry: LedgerEntry,
    *,
    public: float | None = None,
    private: float | None = None,
    rank: int | None = None,
    message: str = "",
    metric: str = "",
) -> list[Event]:
    """Return the events to append: `sent` if it is missing, and `scored` if a score is given that is not the last one.

    A command that was killed after its write therefore records nothing twice when it is run again.
    A file with a score must have been sent, hence the first event. `metric` decides the range of the scores where the
    entry names none.
    """
    for name, score in (("public", public), ("private", private)):
        if score is not None and (problem := score_problem(entry.metric or metric, score)):
            raise UserError(f"--{name} {score:g}: {problem}")
    if rank is not None and rank < 1:
        raise UserError(f"--rank {rank}: ranks start at 1")
    sha256 = entry.sent_sha256 or _current_sha256(entry)
    sent = Event(entry.id, utc_now(), "sent", sha256, competition=entry.competition, file=entry.file, message=message)
    events = [] if entry.sent else [sent]
    named = {"public": public, "private": private, "rank": rank}
    scores = {name: score for name, score in named.items() if score is not None}
    is_recorded = entry.scored and all(getattr(entry, name) == score for name, score in scores.items())
    if scores and not (is_recorded and message in ("", entry.message)):
        events.append(replace(sent, event="scored", public=public, private=private, rank=rank))
    return events


def _current_sha256(entry: LedgerEntry) -> str:
    path = Path(entry.file)
    return file_sha256(path) if path.is_file() else entry.written_sha256
