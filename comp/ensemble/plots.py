"""Plots of a blend: its members on one page, and their reliability diagrams before and after calibration."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from comp.ensemble.calibrate import Confidence, ReliabilityCurve, expected_calibration_error, reliability_curve
from comp.figures import BAD, GOOD, GRID, QUIET, TEXT, new_figure, save_figure, set_title, style_axis
from comp.stats import SIGNIFICANCE_LEVEL
from comp.text import shorten

CORRELATION_COLOURS = LinearSegmentedColormap.from_list("correlation", ["#ffffff", BAD])
MAX_MEMBERS = 40  # members on a page: the heaviest
MAX_ANNOTATED = 15  # members up to which each cell of the correlation has its number
MAX_PANELS = 20  # reliability diagrams on a page
ROW_HEIGHT = 0.3  # inches
MAX_NAME, MAX_PANEL_NAME = 40, 32  # characters


def draw_blend(path: Path, title: str, metric: str, members: pd.DataFrame, correlation: pd.DataFrame) -> None:
    """Draw a row per member: its weight, gain and latency, and the correlation of its errors with other members'.

    `members` is the table of `diagnostics.member_table`; `correlation` that of `error_correlation`, by name both ways.
    """
    shown = members.head(MAX_MEMBERS)
    side = max(ROW_HEIGHT * len(shown), 1.5)
    panels = {"weight": 2.0, "gain": 2.6, "latency": 1.5, "errors": side}
    if shown["weight"].isna().all():  # a stack
        del panels["weight"]
    names = [f"{shorten(name, MAX_NAME)}  {number}" for number, name in enumerate(shown["name"], 1)]
    figure = new_figure(sum(panels.values()) + 0.07 * max(map(len, names)) + 0.6, side + 1.2)
    figure.set_layout_engine("constrained", wspace=0.03)
    axes = dict(
        zip(panels, figure.subplots(1, len(panels), width_ratios=list(panels.values()), sharey=True), strict=True)
    )
    if "weight" in axes:
        _draw_weights(axes["weight"], shown)
    _draw_gains(axes["gain"], shown, metric)
    _draw_latency(axes["latency"], shown)
    _draw_correlation(axes["errors"], correlation.loc[shown["name"], shown["name"]].to_numpy())
    first = next(iter(axes.values()))
    first.set_yticks(range(len(shown)), names, fontsize=8)
    first.set_ylim(len(shown) - 0.5, -0.5)  # the others share it
    set_title(figure, title + _truncation_note(shown, members))
    save_figure(path, figure)


def _draw_weights(axis: Axes, members: pd.DataFrame) -> None:
    """Draw the weights with their bootstrap intervals."""
    rows = range(len(members))
    axis.barh(rows, members["weight"], height=0.5, color=GOOD, alpha=0.25)
    axis.hlines(rows, members["weight_low"], members["weight_high"], color=GOOD, linewidth=2)
    axis.plot(members["weight"], rows, "o", color=GOOD, markersize=4)
    axis.set_xlim(left=0)
    style_axis(axis, "weight", "line: 95 % of bootstraps" if members["chosen"].notna().any() else "not fitted")


def _draw_gains(axis: Axes, members: pd.DataFrame, metric: str) -> None:
    """Draw the gains with their intervals: blue is better, red is worse, grey is inside the noise."""
    colours = np.where(members["p"] >= SIGNIFICANCE_LEVEL, QUIET, np.where(members["gain"] > 0, GOOD, BAD))
    rows = range(len(members))
    axis.axvline(0, color=TEXT, linewidth=0.8, zorder=1)
    axis.hlines(rows, members["gain_low"], members["gain_high"], color=colours, linewidth=2)
    axis.scatter(members["gain"], rows, c=colours, s=16, zorder=3)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    style_axis(axis, f"gain in {metric.replace('_', ' ')}", "line: 95 %, paired; grey: inside the noise")


def _draw_latency(axis: Axes, members: pd.DataFrame) -> None:
    axis.barh(range(len(members)), members["ms"], height=0.5, color=QUIET, alpha=0.6)
    style_axis(axis, "latency", "ms/image")


def _draw_correlation(axis: Axes, correlation: np.ndarray) -> None:
    """Draw the matrix of error correlations. Its colour scale spans the values that occur, not -1 to 1."""
    count = len(correlation)
    off_diagonal = ~np.eye(count, dtype=bool)
    low, high = (correlation[off_diagonal].min(), correlation[off_diagonal].max()) if count > 1 else (0.0, 0.0)
    high = max(high, low + 0.1)
    axis.set_facecolor(GRID)
    values = np.where(off_diagonal, correlation, np.nan)
    axis.imshow(values, cmap=CORRELATION_COLOURS, vmin=low, vmax=high, aspect="auto")
    if count <= MAX_ANNOTATED:
        for row, column in np.argwhere(off_diagonal):
            value = correlation[row, column]
            text = f"{value:z.2f}".replace("0.", ".", 1)
            colour = "white" if value > low + 0.7 * (high - low) else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(count), [str(number) for number in range(1, count + 1)])
    style_axis(axis, "errors in common", f"phi: white {low:z.2f}, red {high:z.2f}")
    axis.tick_params(axis="x", labelsize=7 if count <= 25 else 6)
    axis.grid(False)


@dataclass(frozen=True, eq=False)
class CandidateConfidence:
    """The confidence of a candidate without temperatures and with them."""

    name: str
    uncalibrated: Confidence
    calibrated: Confidence
    temperature: float | None  # None: a blend, whose members have one each


def draw_reliability(path: Path, title: str, candidates: Sequence[CandidateConfidence]) -> None:
    """Draw a reliability diagram per candidate: accuracy against confidence, with a confidence histogram below."""
    shown = candidates[:MAX_PANELS]
    columns = len(shown) if len(shown) <= 4 else ceil(len(shown) ** 0.5)
    rows = ceil(len(shown) / columns)
    figure = new_figure(2.6 * columns + 0.4, 2.8 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    curves = [
        (reliability_curve(candidate.uncalibrated), reliability_curve(candidate.calibrated)) for candidate in shown
    ]
    lowest = min(np.min([curve.confidence, curve.accuracy]) for pair in curves for curve in pair)
    start = max(0.0, np.floor(lowest * 10 - 0.5) / 10)  # most confidences are high: the page is for those that occur
    for axis, candidate, (before, after) in zip(grid, shown, curves, strict=False):
        _draw_panel(axis, candidate, start)
        _draw_curve(axis, candidate.uncalibrated, before, start, calibrated=False)
        _draw_curve(axis, candidate.calibrated, after, start, calibrated=True)
        _add_legend(axis, candidate)
    for axis in grid[len(shown) :]:
        axis.set_visible(False)
    for axis in grid[: len(shown)][-columns:]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel("confidence", fontsize=8)
    figure.supylabel("accuracy", fontsize=8)
    set_title(figure, title + _truncation_note(shown, candidates))
    save_figure(path, figure)


def _draw_panel(axis: Axes, candidate: CandidateConfidence, start: float) -> None:
    axis.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, zorder=0)
    axis.set(xlim=(start, 1.01), ylim=(start, 1.01))
    style_axis(axis, shorten(candidate.name, MAX_PANEL_NAME), grid="both")


def _draw_curve(axis: Axes, predictions: Confidence, curve: ReliabilityCurve, start: float, calibrated: bool) -> None:
    """Draw one reliability curve, and below it the histogram of its confidences."""
    colour = GOOD if calibrated else BAD
    axis.plot(
        curve.confidence,
        curve.accuracy,
        "o-" if calibrated else "o--",
        color=colour,
        markersize=3,
        linewidth=1.2,
        markerfacecolor=colour if calibrated else "none",
        label=f"{'after' if calibrated else 'before'} {expected_calibration_error(predictions):.3f}",
    )
    edges = np.linspace(start, 1, 21)
    counts = np.histogram(predictions.confidence, edges)[0]
    heights = counts / max(counts.max(), 1) * 0.2 * (1 - start)  # the lowest fifth of the panel
    axis.stairs(
        heights + start,
        edges,
        baseline=start,
        fill=calibrated,
        color=colour,
        alpha=0.25 if calibrated else 0.8,
        linewidth=0 if calibrated else 0.8,
    )


def _add_legend(axis: Axes, candidate: CandidateConfidence) -> None:
    temperature = "" if candidate.temperature is None else f"T = {candidate.temperature:.2f}, "
    axis.legend(
        title=f"{temperature}ECE", loc="upper left", fontsize=7, title_fontsize=7, frameon=False, alignment="left"
    )


def _truncation_note(shown: Sized, members: Sized) -> str:
    return f": {len(shown)} of {len(members)} members" if len(shown) < len(members) else ""
