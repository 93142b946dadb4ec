"""The style of every figure, and how one is saved. matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from comp.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD = "#1b6ca8", "#c8553d"  # blue: better, measured, or not picked; red: worse, reported, or picked
QUIET, GRID, TEXT = "#9aa0a6", "#e8eaed", "#5f6368"  # greys for insignificant values, grid lines, and remarks
INK = "#1f2328"  # of texts and axes
# Of series: colours that the colour-blind tell apart, and that are visible on a light and on a dark ground (Okabe, Ito)
SERIES = ("#3b8fd4", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#8c8c8c")
# In a page a figure takes its inks from the style: light ones on a dark ground
PAGE_INKS = {
    INK: "currentColor",
    TEXT: "var(--muted)",
    QUIET: "var(--quiet)",
    GRID: "var(--grid)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
}
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


def use_log_scale(axis: Axes, which: Literal["x", "y"], linear_below: float | None = None) -> None:
    """Make a scale logarithmic, with plain numbers at its ticks. `linear_below`: with a linear part, which has a 0."""
    from matplotlib.ticker import NullFormatter

    scale, options = ("log", {}) if linear_below is None else ("symlog", {"linthresh": linear_below})
    (axis.set_xscale if which == "x" else axis.set_yscale)(scale, **options)
    ticks = axis.xaxis if which == "x" else axis.yaxis
    ticks.set_major_formatter("{x:g}")
    ticks.set_minor_formatter(NullFormatter())


def set_title(figure: Figure, title: str) -> None:
    """Set the title of the whole figure, at its left."""
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, under a temporary name first."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_atomic(path, buffer.getvalue())


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG element without ground, for a page whose style gives the inks of `PAGE_INKS`.

    Texts stay texts, in the font of the page.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "comp"}):  # the same figure gives the same bytes
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # the texts have their places: a PNG takes half the time
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for ink, variable in PAGE_INKS.items():
        svg = svg.replace(ink, variable)
    return svg


def page_style() -> AbstractContextManager[None]:
    """Return a context in which figures of a page are drawn: with its ink, and without formulas in texts."""
    from matplotlib import rc_context

    return rc_context(
        {
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "text.parse_math": False,  # a class may be called $x
            "font.size": 8,
            "axes.titlesize": 9,
            "legend.frameon": False,
        }
    )
