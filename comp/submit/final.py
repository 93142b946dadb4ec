"""FINAL, a file beside the ledger: one line with the path of the submission that counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comp.errors import UserError, did_you_mean
from comp.files import MissingFileError, file_exists, file_sha256, read_bytes, write_atomic
from comp.records.submission import Competition
from comp.submit.ledger import LedgerEntry
from comp.submit.manifest import submission_id

MAX_BYTES = 10_000  # of FINAL: the system allows no longer path


def find_entry(reference: str, entries: Mapping[str, LedgerEntry], ledger: Path) -> LedgerEntry:
    """Return the entry of an id, or of the path of a submission, whose file may be missing."""
    for id in (reference, submission_id(Path(reference))):
        if id in entries:
            return entries[id]
    raise UserError(f"{reference} is not in {ledger}{did_you_mean(reference, entries)}")


def write_final(path: Path, entry: LedgerEntry) -> None:
    """Write FINAL: the path of the entry's file, or its id if it has no file."""
    write_atomic(path, f"{entry.file or entry.id}\n")


def read_final_id(path: Path) -> str | None:
    """Return the id of the submission that FINAL names, or None if there is no such file.

    A file written by hand may hold an id instead of a path.
    """
    try:
        name = read_bytes(path, MAX_BYTES).decode(errors="replace").strip()
    except MissingFileError:
        return None
    is_path = name.endswith((".csv", ".json")) and name.isprintable()
    return submission_id(Path(name)) if is_path else name


def final_warning(competition: Competition, entries: Mapping[str, LedgerEntry]) -> str | None:
    """Return why FINAL may not mean what its author intended, or None."""
    path = competition.final
    final_id = read_final_id(path)
    if final_id is None:
        return f"{path} is missing; choose a submission with: python -m comp submit final FILE"
    entry = entries.get(final_id)
    if entry is None:
        return f"{path} names {final_id!r}, which is not in the ledger"
    if entry.competition not in ("", competition.name):
        return f"{path} names {entry.id}, which belongs to {entry.competition}"
    if entry.sent is None:
        return f"{path} names {entry.id}, which was never sent"
    if not file_exists(Path(entry.file)):
        return f"{path} names {entry.id}, whose file {entry.file} is missing"
    if file_sha256(Path(entry.file)) != entry.sent_sha256:
        return f"{path} names {entry.id}, and {entry.file} has changed since it was sent"
    return None
