"""The style of every figure, and how one is saved. matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from comp.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD = "#1b6ca8", "#c8553d"  # blue: better, measured, or not picked; red: worse, reported, or picked
QUIET, GRID, TEXT = "#9aa0a6", "#e8eaed", "#5f6368"  # greys for insignificant values, grid lines, and remarks
DPI = 130


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches. It has no window, so it works without a display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def style_axis(axis: Axes, title: str = "", label: str = "", grid: Literal["x", "both"] = "x") -> None:
    """Set the title, the x label and the grid. Grid "x" is for a row per item, which needs no vertical scale."""
    if title:
        axis.set_title(title, loc="left", fontsize=9)
    if label:
        axis.set_xlabel(label, fontsize=7.5, color=TEXT, loc="left")
    axis.grid(axis=grid, color=GRID)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if grid == "x":
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", left=False)
        axis.tick_params(axis="x", labelsize=7)
    else:
        axis.tick_params(labelsize=7)


def set_title(figure: Figure, title: str) -> None:
    """Set the title of the whole figure, at its left."""
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, under a temporary name first."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_atomic(path, buffer.getvalue())
