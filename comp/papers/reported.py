"""What the papers report: configs/papers/<paper>/reported.csv, one line per row of their tables.

table,row,config     where it stands, its label, the config beside the CSV that trains it (several rows may share one)
accuracy, ...        the reported scores under the names of comp.metrics; `f1_<class>` too
parameters, train_seconds, epoch_seconds, ms_per_image, peak_memory_gb, epochs, ...      as printed
scored_on            validation or test
doubt                why a figure of the row cannot be true, where it cannot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.errors import UserError, did_you_mean
from comp.tables import read_csv

PAPERS = Path("configs/papers")
KEY_COLUMNS = ("table", "row", "config")
TEXT_COLUMNS = ("parameters", "scored_on", "doubt")


@dataclass(frozen=True)
class ReportedRow:
    table: str
    label: str
    config: str  # the stem of its file
    reported: dict[str, float]  # metric or cost -> figure, where there is one
    parameters: str  # as printed
    scored_on: str
    doubt: str


def config_file(paper: str, name: str) -> Path:
    return PAPERS / paper / f"{name}.yaml"


def papers() -> list[str]:
    return sorted(path.parent.name for path in PAPERS.glob("*/reported.csv"))


def read_rows(paper: str, wanted: Sequence[str] = ()) -> list[ReportedRow]:
    """The rows of a paper, or those of the configs `wanted`."""
    if paper not in papers():
        raise UserError(f"there is no paper {paper}{did_you_mean(paper, papers())}")
    path = PAPERS / paper / "reported.csv"
    table = read_csv(path, KEY_COLUMNS, text_columns=(*KEY_COLUMNS, *TEXT_COLUMNS))
    figures = [column for column in table.columns if column not in (*KEY_COLUMNS, *TEXT_COLUMNS)]
    rows = [_read_row(line, figures, path) for line in table.to_dict("records")]
    known = list(dict.fromkeys(row.config for row in rows))
    for each in wanted:
        if each not in known:
            raise UserError(f"{path} has no row trained by {each}{did_you_mean(each, known)}")
    return [row for row in rows if not wanted or row.config in wanted]


def _read_row(line: dict[str, object], figures: Sequence[str], path: Path) -> ReportedRow:
    if line.get("scored_on") not in ("validation", "test"):
        raise UserError(f"{path}: scored_on of {line['row']} is {line.get('scored_on')}, not validation or test")
    reported = {}
    for name in figures:
        if text := str(line[name]).strip():
            try:
                reported[name] = float(text)
            except ValueError:
                raise UserError(f"{path}: {name} of {line['row']} is {text}, not a number") from None
    return ReportedRow(
        line["table"],
        line["row"],
        line["config"],
        reported,
        line.get("parameters", ""),
        line["scored_on"],
        line.get("doubt", ""),
    )
