"""A paper's tables as one figure: the reported and the measured accuracy of each row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comp.files import write_atomic
from comp.papers.results import RowResult, TrainedRow

MEASURED, REPORTED, QUIET = "#1b6ca8", "#c8553d", "#9aa0a6"


def draw(path: Path, paper: str, results: Sequence[RowResult]) -> None:
    """Draw a panel per table of the paper; the bar through a measured point is its 95 % interval over images."""
    panels = [(title, list(group)[::-1]) for title, group in groupby(results, key=lambda result: result.row.table)]
    heights = [len(rows) + 1.5 for _, rows in panels]
    figure = Figure(figsize=(8, 0.28 * sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for axis, (title, rows) in zip(axes, panels, strict=True):
        for position, result in enumerate(rows):
            _draw_row(axis, position, result)
        axis.set_yticks(range(len(rows)), [result.row.label for result in rows], fontsize=8)
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.tick_params(left=False)
        axis.set_title(title, loc="left", fontsize=9)
        axis.grid(axis="x", color="#e8eaed")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.set_axisbelow(True)
    axes[-1].set_xlabel("accuracy")
    figure.suptitle(f"{paper.capitalize()}: reported (ring) and measured (dot, 95 % interval)", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomic(path, buffer.getvalue())


def _draw_row(axis: Axes, position: int, result: RowResult) -> None:
    if result.has_reported_accuracy:
        axis.plot(result.row.reported["accuracy"], position, "o", color=REPORTED, markerfacecolor="none")
    if not isinstance(result, TrainedRow):
        return
    axis.plot(result.measured.interval, [position, position], color=MEASURED, linewidth=2)
    axis.plot(result.accuracy, position, "o", color=MEASURED)
    if result.has_reported_accuracy:
        ends = [result.row.reported["accuracy"], result.accuracy]
        axis.plot(ends, [position, position], color=QUIET, linewidth=0.8, zorder=0)
