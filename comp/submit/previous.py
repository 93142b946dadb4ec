"""Compare a submission with the earlier ones of its competition, those that were sent and those only written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.errors import UserError, shorten_list
from comp.files import file_sha256
from comp.metrics import find_metric
from comp.submit.answers import Answer
from comp.submit.format_checks import Severity, SubmissionIssue
from comp.submit.ledger import LedgerEntry
from comp.submit.submission_table import read_table

MAX_ROWS_SHOWN = 3  # rows that differ, listed in an issue


@dataclass(frozen=True)
class Candidate:
    """The submission under check, and how files of its competition are read and scored."""

    id: str
    sha256: str
    labels: Mapping[str, str]  # image id -> predicted class
    answer: Answer
    metric: str


@dataclass(frozen=True)
class Match:
    """A way in which the candidate matches earlier submissions: the text before and after their names."""

    severity: Severity
    before: str
    after: str = ""


def previous_submission_issues(candidate: Candidate, entries: Sequence[LedgerEntry]) -> Iterator[SubmissionIssue]:
    """Yield an issue for each kind of match with `entries`, the ledger's entries of this competition.

    The last issue lists the rows in which the candidate differs from the best submission that was sent.
    """
    yield from _duplicate_issues(candidate, entries)
    best = best_submission([entry for entry in entries if entry.sent], candidate.metric)
    if best is None or best.sent_sha256 == candidate.sha256:
        return
    labels, best_labels = candidate.labels, _labels_of(best, candidate)
    if isinstance(best_labels, str) or best_labels.keys() != labels.keys():
        return
    different = [id for id in labels if labels[id] != best_labels[id]]
    if different:
        rows = ", ".join(f"{id} {best_labels[id]} -> {labels[id]}" for id in different[:MAX_ROWS_SHOWN])
        yield SubmissionIssue(
            "info",
            f"differs from {_describe(best)} in {len(different):,} of {len(labels):,} rows: "
            f"{rows}{', ...' if len(different) > MAX_ROWS_SHOWN else ''}",
        )


def _duplicate_issues(candidate: Candidate, entries: Sequence[LedgerEntry]) -> Iterator[SubmissionIssue]:
    """Yield one issue per kind of match, whatever the number of entries that match in that way."""
    names: dict[Match, list[str]] = {}
    for entry in entries:
        if match := _match(entry, candidate):
            names.setdefault(match, []).append(_describe(entry))
    for match, matching in names.items():
        yield SubmissionIssue(match.severity, f"{match.before}{shorten_list(matching)}{match.after}")


def _match(entry: LedgerEntry, candidate: Candidate) -> Match | None:
    """Return how `entry` matches the candidate: by its bytes, its name or its labels; None if it does not.

    Where probabilities are scored, a file with the same labels may still be worth sending.
    """
    severity: Severity = "suspicious" if entry.sent else "warning"
    is_same_id = entry.id == candidate.id
    if candidate.sha256 == (entry.sent_sha256 if entry.sent else entry.written_sha256):
        return Match(severity, "its bytes are those of ") if entry.sent or not is_same_id else None
    if is_same_id:
        after = " had another content under this name; give the file a new one"
        return Match("error", "", after) if entry.sent else None
    labels = _labels_of(entry, candidate)
    if isinstance(labels, str):
        return Match("warning", "could not be compared with ", f": {labels}") if entry.sent else None
    if labels != candidate.labels:
        return None
    if candidate.answer.has_probabilities and find_metric(candidate.metric).answer == "probability":
        after = f"; its probabilities differ, which changes the {candidate.metric}"
        return Match("warning", "its labels are those of ", after)
    return Match(severity, "its labels are those of ")


def best_submission(entries: Sequence[LedgerEntry], metric: str) -> LedgerEntry | None:
    """Return the entry with the best public score; without any, with the best CV; without any, the last entry."""
    sign = 1 if find_metric(metric).higher_is_better else -1
    for column in ("public", "cv"):
        comparable = [entry for entry in entries if column == "public" or entry.metric in ("", metric)]
        scored = [entry for entry in comparable if getattr(entry, column) is not None]
        if scored:
            return max(scored, key=lambda entry: sign * getattr(entry, column))
    return entries[-1] if entries else None


def _labels_of(entry: LedgerEntry, candidate: Candidate) -> dict[str, str] | str:
    """Return the labels in the entry's file; or, as a text, why they cannot be read any more."""
    path = Path(entry.file)
    if not path.is_file():
        return "its file is missing (its bytes were compared, by their hash)"
    if file_sha256(path) != (entry.sent_sha256 or entry.written_sha256):
        return "its file has changed since"
    try:
        return candidate.answer.labels(read_table(path))
    except (UserError, LookupError, ValueError):
        return "its file has another format"


def _describe(entry: LedgerEntry) -> str:
    """`x (sent on 2025-11-21T01:00:00+00:00, public 0.9)`"""
    state = f"sent on {entry.sent}" if entry.sent else "written, not sent"
    return f"{entry.id} ({state}{'' if entry.public is None else f', public {entry.public:g}'})"
