"""A paper's tables as one figure: the reported and the measured accuracy of each row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from comp.figures import BAD, GOOD, QUIET, new_figure, save_figure, set_title, style_axis
from comp.papers.results import RowResult, TrainedRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURED, REPORTED = GOOD, BAD


def draw(path: Path, paper: str, results: Sequence[RowResult]) -> None:
    """Draw a panel per table of the paper; the bar through a measured point is its 95 % interval over images."""
    panels = [(title, list(group)[::-1]) for title, group in groupby(results, key=lambda result: result.row.table)]
    heights = [len(rows) + 1.5 for _, rows in panels]
    figure = new_figure(8, 0.28 * sum(heights) + 0.8)
    axes = figure.subplots(len(panels), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for axis, (title, rows) in zip(axes, panels, strict=True):
        for position, result in enumerate(rows):
            _draw_row(axis, position, result)
        axis.set_yticks(range(len(rows)), [result.row.label for result in rows], fontsize=8)
        axis.set_ylim(-0.6, len(rows) - 0.4)
        style_axis(axis, title, "accuracy" if axis is axes[-1] else "")
    set_title(figure, f"{paper.capitalize()}: reported (ring) and measured (dot, 95 % interval)")
    save_figure(path, figure)


def _draw_row(axis: Axes, position: int, result: RowResult) -> None:
    """Draw the reported accuracy as a ring and the measured one as a dot with its interval, joined by a thin line."""
    if result.has_reported_accuracy:
        axis.plot(result.row.reported["accuracy"], position, "o", color=REPORTED, markerfacecolor="none")
    if not isinstance(result, TrainedRow):
        return
    axis.plot(result.measured.interval, [position, position], color=MEASURED, linewidth=2)
    axis.plot(result.accuracy, position, "o", color=MEASURED)
    if result.has_reported_accuracy:
        ends = [result.row.reported["accuracy"], result.accuracy]
        axis.plot(ends, [position, position], color=QUIET, linewidth=0.8, zorder=0)
