"""What `reproduce` leaves behind: table.md, table.csv with all that is known of each row, table.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from comp.files import write_atomic
from comp.metrics import METRICS
from comp.papers.markdown import render
from comp.papers.plot import draw
from comp.papers.results import Protocol, RowResult
from comp.tables import write_csv


def write_table(folder: Path, protocol: Protocol, lines: Sequence[RowResult]) -> None:
    write_atomic(folder / "table.md", render(protocol, lines))
    write_csv(folder / "table.csv", pd.DataFrame([_flat(line) for line in lines]))
    draw(folder / "table.png", protocol.paper, lines)


def _flat(line: RowResult) -> dict[str, object]:
    """One line of table.csv: all that is known, empty where it is not."""
    measured, size = line.measured, line.size
    flat: dict[str, object] = {
        "table": line.row.table,
        "row": line.row.label,
        "config": line.row.config,
        "run": line.config.name,
        **(
            {"trainable": size.trainable, "all_numbers": size.total, "weights_mib": size.weights_mib, "macs": size.macs}
            if size
            else {}
        ),
        "reported_parameters": line.row.parameters,
        "doubt": line.row.doubt,
        **{f"reported_{name}": value for name, value in line.row.reported.items()},
    }
    if measured:
        flat |= {
            "scored_on": measured.scored_on,
            "images": len(measured.hits),
            "seeds": measured.seeds,
            **{name: measured.scores[name] for name in METRICS},
            "accuracy_sd": measured.sd,
            "accuracy_low": measured.interval[0],
            "accuracy_high": measured.interval[1],
            "difference": line.difference,
            "best_epoch_accuracy": measured.best_epoch_score,
            **measured.costs,
            **{f"f1_{name}": value for name, value in measured.f1.items()},
        }
    return flat
