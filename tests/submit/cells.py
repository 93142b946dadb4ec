"""Files, manifests and events of a competition of four equal classes."""

from __future__ import annotations

from pathlib import Path

from comp.files import file_sha256, write_json
from comp.records.blend import OofSummary
from comp.submit.check import SubmissionReport
from comp.submit.ledger import append
from comp.submit.ledger_lines import Event

CLASSES = ("baso", "eos", "mono", "nan")  # the last one looks like a missing value
LEDGER = Path("submissions/ledger.csv")
ROWS = [(f"img_{number}.jpg", CLASSES[number % 4]) for number in range(80)]
COMPETITION = {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)}
LOG_LOSS = OofSummary("log_loss", 0.5, (0.4, 0.6), 0.5, 0.5, 0.01, (0.5,), 100).to_dict()


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def lines(form: str, rows=ROWS, confidence: float = 0.7) -> list[str]:
    """The rows of a good file, header first."""
    if form != "probabilities":
        return ["id,label", *(f"{id},{label if form == 'names' else CLASSES.index(label)}" for id, label in rows)]
    rest = (1 - confidence) / 3
    return [
        f"id,{','.join(CLASSES)}",
        *(f"{id}," + ",".join(f"{confidence if label == own else rest:.6f}" for label in CLASSES) for id, own in rows),
    ]


def write(name: str, content: list[str], **changes) -> Path:
    path = Path(f"submissions/{name}.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(("\n".join(content) + "\n").encode())
    write_json(
        path.with_suffix(".json"),
        {"schema": 1, "id": name, "sha256": file_sha256(path), "competition": COMPETITION, **changes},
    )
    return path


def write_sample(form: str) -> None:
    Path("input/cells/sample_submission.csv").write_text("\n".join(lines(form, [(id, "baso") for id, _ in ROWS])))


def record(path: Path, hour: int = 1, event: str = "sent", **fields) -> None:
    append(
        LEDGER,
        Event(
            path.stem,
            f"2025-11-21T{hour:02}:00:00+00:00",
            event,
            file_sha256(path),
            file=str(path),
            competition="cells",
            **fields,
        ),
    )


def issue_texts(report: SubmissionReport, severity: str) -> str:
    return "\n".join(issue.text for issue in report.issues if issue.severity == severity)


def severities(report: SubmissionReport) -> set[str]:
    return {issue.severity for issue in report.issues}


def rows_with_changes(count: int) -> list[tuple[str, str]]:
    """The good rows, the first `count` with the next class."""
    return [(id, CLASSES[(CLASSES.index(label) + (row < count)) % 4]) for row, (id, label) in enumerate(ROWS)]
