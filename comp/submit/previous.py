"""Is this shot worth it? A submission beside those of the same competition that were sent, or only written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from comp.errors import UserError
from comp.files import file_sha256
from comp.metrics import METRICS
from comp.submit.format_checks import Severity, SubmissionIssue, predicted_labels, shorten_list
from comp.submit.ledger import LedgerEntry
from comp.submit.sample import LabelFormat, read_table

MAX_ROWS_SHOWN = 3  # rows that are named of those that differ


def previous_submission_issues(
    id: str,
    sha256: str,
    mine: Mapping[str, str],
    others: Sequence[LedgerEntry],
    form: LabelFormat,
    classes: Sequence[str],
    metric: str,
) -> Iterator[SubmissionIssue]:
    """`mine`: image id -> class; `others`: what the ledger knows of this competition."""
    sent = [entry for entry in others if entry.sent]
    yield from _duplicate_issues(id, sha256, mine, others, form, classes, metric)
    best = best_submission(sent, metric)
    theirs = None if best is None or best.sent_sha256 == sha256 else _labels_of(best, form, classes)
    if isinstance(theirs, dict) and theirs.keys() == mine.keys():
        differ = [row for row in mine if mine[row] != theirs[row]]
        if differ:
            named = ", ".join(f"{row} {theirs[row]} -> {mine[row]}" for row in differ[:MAX_ROWS_SHOWN])
            yield SubmissionIssue(
                "note",
                f"differs from {_describe(best)} in {len(differ):,} of {len(mine):,} rows: "
                f"{named}{', ...' if len(differ) > MAX_ROWS_SHOWN else ''}",
            )


def _duplicate_issues(
    id: str,
    sha256: str,
    mine: Mapping[str, str],
    others: Sequence[LedgerEntry],
    form: LabelFormat,
    classes: Sequence[str],
    metric: str,
) -> Iterator[SubmissionIssue]:
    """The same bytes, or the same labels: a finding for each way to be alike, whatever the number of files."""
    found: dict[tuple[Severity, str, str], list[str]] = {}
    for entry in others:
        if way := _match(entry, id, sha256, mine, form, classes, metric):
            found.setdefault(way, []).append(_describe(entry))
    for (level, before, after), entries in found.items():
        yield SubmissionIssue(level, f"{before}{shorten_list(entries)}{after}")


def _match(
    entry: LedgerEntry,
    id: str,
    sha256: str,
    mine: Mapping[str, str],
    form: LabelFormat,
    classes: Sequence[str],
    metric: str,
) -> tuple[Severity, str, str] | None:
    """How much it matters, and the words around the entry's name. Where probabilities are scored, the same labels may
    still be worth a shot."""
    level, own = "doubtful" if entry.sent else "warning", entry.id == id
    if sha256 == (entry.sent_sha256 if entry.sent else entry.written_sha256):
        return (level, "byte for byte it is ", "") if entry.sent or not own else None
    if own:
        return ("broken", "", " had another content under this name; give the file a new one") if entry.sent else None
    theirs = _labels_of(entry, form, classes)
    if isinstance(theirs, str):
        return ("warning", "could not be compared with ", f": {theirs}") if entry.sent else None
    if theirs != mine:
        return None
    if form.columns and METRICS[metric].from_confusion is None:
        return "warning", "every label is that of ", f"; its probabilities differ, which {metric} sees"
    return level, "every label is that of ", ""


def best_submission(entries: Sequence[LedgerEntry], metric: str) -> LedgerEntry | None:
    """By public score; while there is none, by CV; else the last one sent."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    for value in ("public", "cv"):
        known = [entry for entry in entries if getattr(entry, value) is not None]
        if known:
            return max(known, key=lambda entry: sign * getattr(entry, value))
    return entries[-1] if entries else None


def _labels_of(entry: LedgerEntry, form: LabelFormat, classes: Sequence[str]) -> dict[str, str] | str:
    """What the entry's file says of each image; or why that cannot be known any more."""
    path = Path(entry.file)
    if not entry.file or not path.is_file():
        return "the file is gone (its bytes were compared, by their hash)"
    if file_sha256(path) != (entry.sent_sha256 or entry.written_sha256):
        return "the file has changed since"
    try:
        return predicted_labels(read_table(path), form, classes)
    except (UserError, LookupError, ValueError):
        return "the file has another form"


def _describe(entry: LedgerEntry) -> str:
    state = f"sent on {entry.sent}" if entry.sent else "written, not sent"
    return f"{entry.id} ({state}{_public(entry)})"


def _public(entry: LedgerEntry) -> str:
    return "" if entry.public is None else f", public {entry.public:g}"
