"""A paper's tables as one picture: what was reported and what was measured, row by row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from comp.files import write_atomic
from comp.papers.results import RowResult

MEASURED, REPORTED, QUIET = "#1b6ca8", "#c8553d", "#9aa0a6"


def draw(path: Path, paper: str, lines: Sequence[RowResult]) -> None:
    """A panel per table of the paper; the bar through a measured point is its interval over the images."""
    panels = [(title, list(part)[::-1]) for title, part in groupby(lines, key=lambda line: line.row.table)]
    heights = [len(part) + 1.5 for _, part in panels]
    figure = Figure(figsize=(8, 0.28 * sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for axis, (title, part) in zip(axes, panels, strict=True):
        for place, line in enumerate(part):
            reported = line.row.reported.get("accuracy")
            if reported is not None:
                axis.plot(reported, place, "o", color=REPORTED, markerfacecolor="none")
            if line.measured:
                axis.plot(line.measured.interval, [place, place], color=MEASURED, linewidth=2)
                axis.plot(line.measured.scores["accuracy"], place, "o", color=MEASURED)
            if line.measured and reported is not None:
                axis.plot(
                    [reported, line.measured.scores["accuracy"]], [place, place], color=QUIET, linewidth=0.8, zorder=0
                )
        axis.set_yticks(range(len(part)), [line.row.label for line in part], fontsize=8)
        axis.set_ylim(-0.6, len(part) - 0.4)
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
