"""Write a submission, read it back, and note beside it how it was made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from comp.errors import UserError
from comp.submit.sample import Sample, read_sample
from comp.tables import write_atomic, write_json

SUBMISSIONS = Path("submissions")


def write_submission(name: str, filled: Sample, made_from: dict[str, Any]) -> Path:
    path = SUBMISSIONS / f"{name}{filled.suffix}"
    content = _render(filled)
    write_atomic(path, content)
    if read_sample(path) != filled:
        raise UserError(f"{path} does not read back as it was written; do not send it")
    # a .json submission has its note under another name
    note = path.with_suffix(".json" if filled.layout == "csv" else ".about.json")
    write_json(note, {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), **made_from})
    return path


def _render(sample: Sample) -> bytes:
    if sample.layout == "csv":
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=sample.newline).writerows([sample.columns, *sample.rows])
        return (b"\xef\xbb\xbf" if sample.bom else b"") + text.getvalue().encode()
    if sample.layout == "map":
        return json.dumps({id: _plain(label) for id, label in sample.rows}, indent=1).encode()
    return json.dumps([{column: value if index == 0 else _plain(value)
                        for index, (column, value) in enumerate(zip(sample.columns, row, strict=True))}
                       for row in sample.rows], indent=1).encode()


def _plain(text: str) -> int | float | str:
    """Numbers are numbers in JSON, names are text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
