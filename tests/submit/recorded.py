"""Submissions with a manifest and a line in the ledger."""

from __future__ import annotations

from pathlib import Path

from comp.files import file_sha256, write_json
from comp.submit.ledger import append, read
from comp.submit.ledger_lines import Event

LEDGER = Path("submissions/ledger.csv")
CONFIG = ["-c", "cells.yaml"]


def write(id: str, cv: float | None = None, hour: int = 1, **fields) -> Path:
    path = Path(f"submissions/{id}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"id,label\n{id},a\n")
    write_json(
        path.with_suffix(".json"),
        {
            "schema": 1,
            "id": id,
            "sha256": file_sha256(path),
            "competition": {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)},
        },
    )
    score = {} if cv is None else {"metric": "accuracy", "cv": cv, "cv_low": cv - 0.01, "cv_high": cv + 0.01}
    append(
        LEDGER,
        Event(
            id,
            f"2025-11-21T{hour:02}:00:00+00:00",
            "written",
            file=str(path),
            sha256=file_sha256(path),
            **{"competition": "cells"} | score | fields,
        ),
    )
    return path


def events() -> list[str]:
    return [f"{event.id} {event.event}" for event in read(LEDGER)]
