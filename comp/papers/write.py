"""Write the files of `reproduce`: table.md, table.png, and table.csv with every number of each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from comp.files import write_atomic
from comp.metrics import CLASS_REPORT
from comp.papers.markdown import render
from comp.papers.plot import draw
from comp.papers.results import Protocol, RowResult, TrainedRow
from comp.tables import write_csv


def write_table(directory: Path, protocol: Protocol, results: Sequence[RowResult]) -> None:
    """Write table.md, table.csv and table.png of a paper."""
    write_atomic(directory / "table.md", render(protocol, results))
    write_csv(directory / "table.csv", pd.DataFrame([_csv_row(result) for result in results]))
    draw(directory / "table.png", protocol.paper, results)


def _csv_row(result: RowResult) -> dict[str, object]:
    """Return a line of table.csv: column -> value, without unknown values."""
    row, size = result.row, result.model_size
    cells: dict[str, object] = {"table": row.table, "row": row.label, "config": row.config, "run": result.config.name}
    if size:
        cells |= {
            "trainable": size.trainable,
            "all_numbers": size.total,
            "weights_mib": size.weights_mib,
            "macs": size.macs,
        }
    cells |= {"reported_parameters": row.parameters, "doubt": row.caveat}
    cells |= {f"reported_{name}": value for name, value in row.reported.items()}
    return {**cells, **_measured_cells(result)} if isinstance(result, TrainedRow) else cells


def _measured_cells(result: TrainedRow) -> dict[str, object]:
    measured = result.measured
    return {
        "scored_on": measured.scored_on,
        "images": len(measured.correct),
        "seeds": measured.seeds,
        **{name: measured.scores[name] for name in CLASS_REPORT},
        "accuracy_sd": measured.sd,
        "accuracy_low": measured.interval[0],
        "accuracy_high": measured.interval[1],
        "difference": result.difference,
        "best_epoch_accuracy": measured.best_epoch_score,
        **measured.costs,
        **{f"f1_{name}": value for name, value in measured.f1.items()},
    }
