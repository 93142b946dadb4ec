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
    content = render(filled)
    write_atomic(path, content)
    if read_sample(path) != filled:
        raise UserError(f"{path} does not read back as it was written; do not send it")
    # a .json submission has its note under another name
    note = path.with_suffix(".json" if filled.layout == "csv" else ".about.json")
    write_json(note, {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), **made_from})
    return path


def render(sample: Sample) -> bytes:
    if sample.layout == "csv":
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=sample.newline).writerows([sample.columns, *sample.rows])
        return (b"\xef\xbb\xbf" if sample.bom else b"") + text.getvalue().encode()
    rows = [[json.loads(value) if number else value for value, number in zip(row, sample.numeric, strict=True)]
            for row in sample.rows]
    content = dict(rows) if sample.layout == "map" else [dict(zip(sample.columns, row, strict=True)) for row in rows]
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
