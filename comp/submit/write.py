"""Write a submission and its manifest, check that it reads back, and enter it in the ledger."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from comp.errors import UserError
from comp.files import write_atomic
from comp.records.submission import SubmissionManifest
from comp.submit import ledger
from comp.submit.competition import from_manifest
from comp.submit.manifest import SUBMISSIONS, manifest_path
from comp.submit.submission_table import SubmissionTable, read_table, to_bytes


def write_submission(name: str, filled: SubmissionTable, manifest: SubmissionManifest) -> Path:
    """Write a submission and its manifest.

    `manifest` says how the file was made; id, file name, hash and time are added here.
    The ledger gets an event, unless the content written last under this name is the same.
    """
    path, content = SUBMISSIONS / f"{name}{filled.suffix}", to_bytes(filled)
    sha256, competition = hashlib.sha256(content).hexdigest(), from_manifest(manifest)
    ledger_path = Path(competition.ledger)
    if path.resolve() in (ledger_path.resolve(), (SUBMISSIONS / "ledger.csv").resolve()):
        raise UserError(f"{path} is the path of the ledger; choose another --name")
    events = ledger.read(ledger_path)
    sent = {event.sha256 for event in events if event.id == name and event.event == "sent"}
    if sent and sha256 not in sent:
        raise UserError(
            f"{path} was sent with another content, which must stay; write this one under another name: --name NEW"
        )
    manifest = replace(manifest, id=name, file=path.name, sha256=sha256, created=ledger.utc_now())
    # the manifest first: after a kill between the two, `submit reproduce` can write the file
    manifest.write(manifest_path(path))
    write_atomic(path, content)
    if read_table(path) != filled:
        raise UserError(f"{path} does not read back as it was written; do not send it")
    entry = ledger.latest_entries(events).get(name)
    if entry is None or entry.written_sha256 != sha256:
        event = ledger.make_event(
            "written", id=name, sha256=sha256, file=path, competition=competition.name, manifest=manifest
        )
        ledger.append(ledger_path, event)
    return path
