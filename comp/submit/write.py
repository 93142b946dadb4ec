"""Write a submission, read it back, note beside it how it was made, and enter it in the ledger."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from comp.errors import UserError, did_you_mean
from comp.files import read_json, write_atomic, write_json
from comp.schema import Config
from comp.submit import ledger
from comp.submit.competition import Competition, from_manifest, resolve_competition
from comp.submit.sample import SubmissionTable, read_table

SUBMISSIONS = Path("submissions")
MANIFEST_SCHEMA = 1


def write_submission(name: str, filled: SubmissionTable, note: dict[str, Any]) -> Path:
    """`note` says how it was made, its competition first of all; who it is, is filled in here."""
    path, content = SUBMISSIONS / f"{name}{filled.suffix}", to_bytes(filled)
    sha256, competition = hashlib.sha256(content).hexdigest(), from_manifest(note)
    if path.resolve() in (place.resolve() for place in (Path(competition.ledger), SUBMISSIONS / "ledger.csv")):
        raise UserError(f"{path} is the ledger's place; choose another --name")
    events = ledger.read(Path(competition.ledger))
    sent = {event.sha256 for event in events if event.id == name and event.event == "sent"}
    if sent and sha256 not in sent:
        raise UserError(
            f"{path} was sent with another content, and what was sent stays; write this one under another "
            f"name: --name NEW"
        )
    # the note first: killed between the two, no file is without one, and `submit reproduce` writes the file
    write_json(
        manifest_path(path),
        {
            "schema": MANIFEST_SCHEMA,
            "id": name,
            "file": path.name,
            "sha256": sha256,
            "created": ledger.utc_now(),
            **note,
        },
    )
    write_atomic(path, content)
    if read_table(path) != filled:
        raise UserError(f"{path} does not read back as it was written; do not send it")
    known = ledger.latest_entries(events).get(name)
    if known is None or known.written_sha256 != sha256:
        ledger.append(
            Path(competition.ledger),
            ledger.Event(
                name,
                ledger.utc_now(),
                "written",
                sha256,
                competition=competition.name,
                file=path.as_posix(),
                **manifest_score(note),
            ),
        )
    return path


def manifest_path(path: Path) -> Path:
    """x.csv -> x.json; a submission that is JSON itself has its note in x.about.json."""
    return path.with_suffix(".about.json" if path.suffix == ".json" else ".json")


def read_manifest(path: Path) -> dict[str, Any]:
    """What is written beside a submission about how it was made."""
    file = manifest_path(path)
    note = read_json(file)
    if (
        not isinstance(note, dict)
        or note.get("schema") != MANIFEST_SCHEMA
        or not isinstance(note.get("oof"), dict | None)
    ):
        raise UserError(f"{file} is no note of this version (schema {MANIFEST_SCHEMA}); make it again with infer.py")
    return note


def submission_id(path: Path) -> str:
    """The path below submissions/ without its suffix; of a file elsewhere, its name without suffix."""
    try:
        below = path.resolve().relative_to(SUBMISSIONS.resolve())
    except ValueError:
        below = Path(path.name)
    return below.with_suffix("").as_posix()


def find_submission(said: str) -> Path:
    """A submission by its path, or by its id."""
    for path in _candidate_paths(said):
        if path.is_file():
            return path
    known = [submission_id(path) for path in SUBMISSIONS.rglob("*.csv") if path != SUBMISSIONS / "ledger.csv"]
    raise UserError(f"there is no submission {said}{did_you_mean(said, known)}")


def competition_for(said: str, config: Config | None) -> Competition:
    """What a submission, given by path or id, is for: the config that was asked for, else its note, else the default
    config."""
    path = find_with_manifest(said)
    return resolve_competition(config, read_manifest(path) if path else None)


def find_with_manifest(said: str) -> Path | None:
    """Where a submission that has a note lies, by its path or id. The file itself may be gone."""
    for path in _candidate_paths(said):
        is_note = path.suffix == ".csv" and not path.with_suffix(".about.json").is_file()  # else x.json is no note
        if (is_note or path.suffix == ".json") and manifest_path(path).is_file():
            return path
    return None


def _candidate_paths(said: str) -> list[Path]:
    if not Path(said).name:
        raise UserError(f"{said!r} names no submission; give its path or its id")
    return [Path(said), *(SUBMISSIONS / f"{said}{suffix}" for suffix in (".csv", ".json"))]


def manifest_score(note: dict[str, Any]) -> dict[str, Any]:
    """The facts of the ledger that a note knows: how good the submission is out of fold."""
    oof = note.get("oof") or {}
    low, high = oof.get("interval", (None, None))
    return {"metric": oof.get("metric", ""), "cv": oof.get("score"), "cv_low": low, "cv_high": high}


def to_bytes(sample: SubmissionTable) -> bytes:
    if sample.layout == "csv":
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=sample.newline).writerows([sample.columns, *sample.rows])
        return (b"\xef\xbb\xbf" if sample.bom else b"") + text.getvalue().encode()
    rows = [
        [json.loads(value) if number else value for value, number in zip(row, sample.numeric, strict=True)]
        for row in sample.rows
    ]
    content = dict(rows) if sample.layout == "map" else [dict(zip(sample.columns, row, strict=True)) for row in rows]
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
