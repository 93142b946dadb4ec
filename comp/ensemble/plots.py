"""A blend on one page, and how sure its members are, before and after their temperatures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from comp.ensemble.calibrate import expected_calibration_error, reliability_curve
from comp.files import write_atomic
from comp.stats import SIGNIFICANCE_LEVEL

GOOD, BAD, QUIET, GRID = "#1b6ca8", "#c8553d", "#9aa0a6", "#e8eaed"
TOGETHER = LinearSegmentedColormap.from_list("together", ["#ffffff", BAD])
MAX_MEMBERS = 40  # members on a page: the heaviest
MAX_ANNOTATED = 15  # members up to which each cell of the map has its number
MAX_PANELS = 20  # members on a page of reliability
ROW_HEIGHT = 0.3  # inches


@dataclass(frozen=True)
class CandidateConfidence:
    """What a candidate says of each image (images, classes), without temperatures and with them."""

    name: str
    before: np.ndarray
    after: np.ndarray
    temperature: float | None  # a blend has those of its members


def draw_blend(path: Path, title: str, metric: str, members: pd.DataFrame, correlation: pd.DataFrame) -> None:
    """A row a member: its weight, what it gains, what it costs, and with whom it fails.

    `members` is the table of `explain.members`; `correlation` that of their errors, by name both ways.
    """
    shown = members.head(MAX_MEMBERS)
    side = max(ROW_HEIGHT * len(shown), 1.5)
    panels = {"weight": 2.0, "gain": 2.6, "cost": 1.5, "errors": side}
    if shown["weight"].isna().all():  # a stack
        del panels["weight"]
    names = [f"{_short(name)}  {place}" for place, name in enumerate(shown["name"], 1)]
    figure = Figure(
        figsize=(sum(panels.values()) + 0.07 * max(map(len, names)) + 0.6, side + 1.2), layout="constrained"
    )
    figure.get_layout_engine().set(wspace=0.03)
    axes = dict(
        zip(panels, figure.subplots(1, len(panels), width_ratios=list(panels.values()), sharey=True), strict=True)
    )
    if "weight" in axes:
        _weights(axes["weight"], shown)
    _gains(axes["gain"], shown, metric)
    _costs(axes["cost"], shown)
    _errors(axes["errors"], correlation.loc[shown["name"], shown["name"]].to_numpy())
    first = next(iter(axes.values()))
    first.set_yticks(range(len(shown)), names, fontsize=8)
    first.set_ylim(len(shown) - 0.5, -0.5)  # the others share it
    figure.suptitle(title + _truncation_note(shown, members), fontsize=11, x=0.01, ha="left")
    _save(path, figure)


def _weights(axis: Axes, members: pd.DataFrame) -> None:
    rows = range(len(members))
    axis.barh(rows, members["weight"], height=0.5, color=GOOD, alpha=0.25)
    axis.hlines(rows, members["weight_low"], members["weight_high"], color=GOOD, linewidth=2)
    axis.plot(members["weight"], rows, "o", color=GOOD, markersize=4)
    axis.set_xlim(left=0)
    _style_axis(axis, "weight", "line: 95 % of bootstraps" if members["chosen"].notna().any() else "not learnt")


def _gains(axis: Axes, members: pd.DataFrame, metric: str) -> None:
    colours = np.where(members["p"] >= SIGNIFICANCE_LEVEL, QUIET, np.where(members["gain"] > 0, GOOD, BAD))
    rows = range(len(members))
    axis.axvline(0, color="#5f6368", linewidth=0.8, zorder=1)
    axis.hlines(rows, members["gain_low"], members["gain_high"], color=colours, linewidth=2)
    axis.scatter(members["gain"], rows, c=colours, s=16, zorder=3)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    _style_axis(axis, f"{metric.replace('_', ' ')} gained by having it", "line: 95 %, paired; grey: inside the noise")


def _costs(axis: Axes, members: pd.DataFrame) -> None:
    axis.barh(range(len(members)), members["ms"], height=0.5, color=QUIET, alpha=0.6)
    _style_axis(axis, "cost", "ms per image")


def _errors(axis: Axes, correlation: np.ndarray) -> None:
    """The colours span what there is: members that are all alike can still be told apart."""
    count = len(correlation)
    apart = ~np.eye(count, dtype=bool)
    low, high = (correlation[apart].min(), correlation[apart].max()) if count > 1 else (0.0, 0.0)
    high = max(high, low + 0.1)
    axis.set_facecolor(GRID)
    axis.imshow(np.where(apart, correlation, np.nan), cmap=TOGETHER, vmin=low, vmax=high, aspect="auto")
    if count <= MAX_ANNOTATED:
        for row, column in np.argwhere(apart):
            value = correlation[row, column]
            axis.text(
                column,
                row,
                f"{value:z.2f}".replace("0.", ".", 1),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if value > low + 0.7 * (high - low) else "black",
            )
    axis.set_xticks(range(count), range(1, count + 1), fontsize=7 if count <= 25 else 6)
    _style_axis(axis, "errors in common", f"phi: white {low:z.2f}, red {high:z.2f}")
    axis.grid(False)


def draw_reliability(path: Path, title: str, truth: np.ndarray, members: Sequence[CandidateConfidence]) -> None:
    """A panel a member: how often it is right against how sure it says it is; below, how often it is how sure."""
    shown = members[:MAX_PANELS]
    columns = len(shown) if len(shown) <= 4 else ceil(len(shown) ** 0.5)
    rows = ceil(len(shown) / columns)
    figure = Figure(figsize=(2.6 * columns + 0.4, 2.8 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    curves = [[reliability_curve(truth, said)[:2] for said in (member.before, member.after)] for member in shown]
    lowest = min(np.min(curve) for pair in curves for curve in pair)
    start = max(0.0, np.floor(lowest * 10 - 0.5) / 10)  # most say little below: the page is for where they speak
    for axis, member, pair in zip(grid, shown, curves, strict=False):
        _panel(axis, truth, member, pair, start)
    for axis in grid[len(shown) :]:
        axis.set_visible(False)
    for axis in grid[: len(shown)][-columns:]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel("confidence", fontsize=8)
    figure.supylabel("share that is right", fontsize=8)
    figure.suptitle(title + _truncation_note(shown, members), fontsize=11, x=0.01, ha="left")
    _save(path, figure)


def _panel(
    axis: Axes,
    truth: np.ndarray,
    member: CandidateConfidence,
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    start: float,
) -> None:
    axis.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, zorder=0)
    edges = np.linspace(start, 1, 21)
    for when, said, (sure, right), colour in zip(
        ("before", "after"), (member.before, member.after), curves, (BAD, GOOD), strict=True
    ):
        after = when == "after"
        axis.plot(
            sure,
            right,
            "o-" if after else "o--",
            color=colour,
            markersize=3,
            linewidth=1.2,
            markerfacecolor=colour if after else "none",
            label=f"{when} {expected_calibration_error(truth, said):.3f}",
        )
        counts = np.histogram(said.max(1), edges)[0]
        heights = counts / max(counts.max(), 1) * 0.2 * (1 - start)  # the lowest fifth of the panel
        axis.stairs(
            heights + start,
            edges,
            baseline=start,
            fill=after,
            color=colour,
            alpha=0.25 if after else 0.8,
            linewidth=0 if after else 0.8,
        )
    axis.set_title(_short(member.name, 32), loc="left", fontsize=8.5)
    known = "" if member.temperature is None else f"T = {member.temperature:.2f}, "
    axis.legend(title=f"{known}ECE", loc="upper left", fontsize=7, title_fontsize=7, frameon=False, alignment="left")
    axis.set(xlim=(start, 1.01), ylim=(start, 1.01))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID)
    axis.tick_params(labelsize=7)


def _truncation_note(shown: Sequence, members: Sequence) -> str:
    return f": {len(shown)} of {len(members)} members" if len(shown) < len(members) else ""


def _style_axis(axis: Axes, title: str, below: str) -> None:
    axis.set_title(title, loc="left", fontsize=9)
    axis.set_xlabel(below, fontsize=7.5, color="#5f6368", loc="left")
    axis.grid(axis="x", color=GRID)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", left=False)
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"


def _save(path: Path, figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomic(path, buffer.getvalue())
