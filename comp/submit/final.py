"""FINAL, a file beside the ledger: one line, the path of the submission that counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comp.errors import UserError, did_you_mean
from comp.files import file_sha256, write_atomic
from comp.submit.competition import Competition
from comp.submit.ledger import LedgerEntry
from comp.submit.write import submission_id


def find_entry(said: str, entries: Mapping[str, LedgerEntry], ledger: Path) -> LedgerEntry:
    """What the ledger knows under an id, or under the path of a submission, which may be gone."""
    for id in (said, submission_id(Path(said))):
        if id in entries:
            return entries[id]
    raise UserError(f"{said} is not in {ledger}{did_you_mean(said, entries)}")


def write_final(path: Path, entry: LedgerEntry) -> None:
    write_atomic(path, f"{entry.file or entry.id}\n")


def read_final_id(path: Path) -> str | None:
    """The id of what FINAL names, if it is there. Written by hand, it may be an id."""
    named = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else None
    return submission_id(Path(named)) if named and named.endswith((".csv", ".json")) else named


def final_warning(competition: Competition, entries: Mapping[str, LedgerEntry]) -> str | None:
    """Why FINAL may not mean what its writer thinks."""
    path = competition.final
    named = read_final_id(path)
    if named is None:
        return f"{path} is missing: nothing is chosen yet (python -m comp submit final FILE)"
    entry = entries.get(named)
    if entry is None:
        return f"{path} names {named!r}, which the ledger does not know"
    if entry.competition not in ("", competition.name):
        return f"{path} names {entry.id}, which is of {entry.competition}"
    if entry.sent is None:
        return f"{path} names {entry.id}, which was never sent"
    if not Path(entry.file).is_file():
        return f"{path} names {entry.id}, whose file {entry.file} is gone"
    if file_sha256(Path(entry.file)) != entry.sent_sha256:
        return f"{path} names {entry.id}, and {entry.file} is not what was sent any more"
    return None
