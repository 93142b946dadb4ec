"""The numbers that papers report: configs/papers/<paper>/reported.csv, with a line per row of their tables.

table,row,config     the paper's table, the row's label, and the config beside the CSV, which several rows may share
accuracy, ...        the reported scores under the names of comp.metrics, and `f1_<class>`
parameters, train_seconds, epoch_seconds, ms_per_image, peak_memory_gb, epochs, ...      as printed
scored_on            validation or test
doubt                why a number of the row cannot be correct, if it cannot
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.errors import UserError, did_you_mean
from comp.tables import read_csv

PAPERS = Path("configs/papers")
KEY_COLUMNS = ("table", "row", "config")
TEXT_COLUMNS = ("parameters", "scored_on", "doubt")


@dataclass(frozen=True)
class ReportedRow:
    """A row of a paper's table, as the paper printed it."""

    table: str
    label: str
    config: str  # the stem of its file
    reported: dict[str, float]  # score or cost -> the printed number, for those that the paper printed
    parameters: str  # as printed
    scored_on: str  # validation or test
    caveat: str  # why a number cannot be correct; empty for most rows


def config_file(paper: str, name: str) -> Path:
    """Return the path of a row's config."""
    return PAPERS / paper / f"{name}.yaml"


def list_papers() -> list[str]:
    """Return the names of the papers: the directories that have a reported.csv."""
    return sorted(path.parent.name for path in PAPERS.glob("*/reported.csv"))


def read_rows(paper: str, requested: Sequence[str] = ()) -> list[ReportedRow]:
    """Return the rows of a paper, or only those of the configs `requested`."""
    if paper not in list_papers():
        raise UserError(f"unknown paper {paper}{did_you_mean(paper, list_papers())}")
    path = PAPERS / paper / "reported.csv"
    table = read_csv(path, KEY_COLUMNS, text_columns=(*KEY_COLUMNS, *TEXT_COLUMNS))
    number_columns = [column for column in table.columns if column not in (*KEY_COLUMNS, *TEXT_COLUMNS)]
    rows = [
        _read_row(dict(zip(table.columns, cells, strict=True)), number_columns, path)
        for cells in table.astype(str).itertuples(index=False)
    ]
    available = list(dict.fromkeys(row.config for row in rows))
    for config in requested:
        if config not in available:
            raise UserError(f"{path} has no row trained by {config}{did_you_mean(config, available)}")
    return [row for row in rows if not requested or row.config in requested]


def _read_row(cells: Mapping[str, str], number_columns: Sequence[str], path: Path) -> ReportedRow:
    """Return a line of reported.csv as a row; refuse invalid values."""
    if cells.get("scored_on") not in ("validation", "test"):
        raise UserError(f"{path}: scored_on of {cells['row']} is {cells.get('scored_on')}; set validation or test")
    reported = {}
    for column in number_columns:
        if text := cells[column].strip():
            try:
                reported[column] = float(text)
            except ValueError:
                raise UserError(f"{path}: {column} of {cells['row']} is {text}; enter a number") from None
    return ReportedRow(
        cells["table"],
        cells["row"],
        cells["config"],
        reported,
        cells.get("parameters", ""),
        cells["scored_on"],
        cells.get("doubt", ""),
    )
