"""A score that a person read off the leaderboard becomes events of the ledger."""

from __future__ import annotations

from pathlib import Path

from comp.errors import UserError
from comp.files import file_sha256
from comp.metrics import METRICS
from comp.submit.competition import Competition
from comp.submit.final import find_entry
from comp.submit.ledger import Event, LedgerEntry, latest_entries, read, utc_now
from comp.submit.sample import read_table
from comp.submit.write import submission_id


def resolve_entry(said: str, competition: Competition) -> LedgerEntry:
    """What the ledger knows of a submission, given by path or id; of a file that is new to it, what can be seen."""
    path, ledger = Path(said), Path(competition.ledger)
    entries = latest_entries(read(ledger))
    if path.is_file() and submission_id(path) not in entries:
        read_table(path)  # refused unless it is a submission
        return LedgerEntry(submission_id(path), competition=competition.name, file=path.as_posix())
    entry = find_entry(said, entries, ledger)
    if (
        path.is_file()
        and path.resolve() != Path(entry.file).resolve()
        and file_sha256(path) not in (entry.sent_sha256, entry.written_sha256)
    ):
        raise UserError(f"{path} is not {entry.file}, which {ledger} knows as {entry.id}; give it a name of its own")
    return entry


def score_events(
    entry: LedgerEntry,
    *,
    public: float | None = None,
    private: float | None = None,
    rank: int | None = None,
    message: str = "",
) -> list[Event]:
    """`sent`, unless that is known: what has a score was sent. Then `scored`, where there is a score."""
    _check_score_range(entry, public, private, rank)
    sha256 = entry.sent_sha256 or _current_sha256(entry)
    same = {"competition": entry.competition, "file": entry.file, "message": message}
    events = [] if entry.sent else [Event(entry.id, utc_now(), "sent", sha256, **same)]
    if (public, private, rank) != (None, None, None):
        events.append(Event(entry.id, utc_now(), "scored", sha256, public=public, private=private, rank=rank, **same))
    return events


def _check_score_range(entry: LedgerEntry, public: float | None, private: float | None, rank: int | None) -> None:
    """98.4 for 0.984 would win every comparison from then on."""
    shares = entry.metric in METRICS and METRICS[entry.metric].from_confusion is not None
    for name, value in (("public", public), ("private", private)):
        if value is not None and shares and not 0 <= value <= 1:
            raise UserError(f"--{name} {value:g}: {entry.metric} is between 0 and 1")
    if rank is not None and rank < 1:
        raise UserError(f"--rank {rank}: ranks begin with 1")


def _current_sha256(entry: LedgerEntry) -> str:
    path = Path(entry.file)
    return file_sha256(path) if entry.file and path.is_file() else entry.written_sha256
