"""Draw CV against LB, with the noise of both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from comp.figures import BAD, GOOD, QUIET, new_figure, save_figure, style_axis
from comp.stats import wilson_interval
from comp.submit.picks import ScoredEntry, entries_with_both_scores
from comp.submit.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOT, PICKED = GOOD, BAD


def draw_cv_vs_lb(path: Path, status: Status) -> bool:
    """Write the plot to `path`. Return False, without a file, if no submission has both scores.

    Points are numbered like the rows of the table of `submit status`.
    """
    numbers = {entry.id: number for number, entry in enumerate(status.entries, 1)}
    points = list(entries_with_both_scores(status.entries))
    if not points:
        return False
    figure = new_figure(7.5, 6)
    axis = figure.subplots()
    lb_images = status.images.public if status.metric == "accuracy" else None
    picked = {pick.entry.id: number for number, pick in enumerate(status.picks, 1)}
    colours = {id: PICKED if id in picked else DOT for id in numbers}
    for point in points:
        id = point.entry.id
        _draw_bars(axis, point, lb_images, colours[id])
        _draw_dot(axis, numbers[id], point, colours[id], is_final=id == status.final)
    _draw_diagonal(axis)
    for point in points:
        id = point.entry.id
        marks = ([f"pick {picked[id]}"] if id in picked else []) + (["FINAL"] if id == status.final else [])
        if marks:
            _draw_label(axis, point, f"{', '.join(marks)}: {_shorten(id)}", colours[id])
    _set_texts(axis, status, lb_images)
    save_figure(path, figure)
    return True


def _set_texts(axis: Axes, status: Status, lb_images: int | None) -> None:
    """Set the title and the axis labels, which explain the bars."""
    axis.set_xlabel(f"CV: {status.metric} out of fold (bar: 95 %, bootstrap)")
    axis.set_ylabel(
        f"LB: public score (bar: 95 %, binomial on {lb_images:,} images)"
        if lb_images
        else "LB: public score (no bar: its noise is unknown)"
    )
    title = f"{status.competition.name}: CV against LB; dashed where they are equal"
    style_axis(axis, title, grid="both")


def _draw_bars(axis: Axes, point: ScoredEntry, lb_images: int | None, colour: str) -> None:
    """Draw the interval of CV horizontally and that of LB vertically, where they are known."""
    low, high = point.entry.cv_low, point.entry.cv_high
    if low is not None and high is not None:
        axis.plot([low, high], [point.public] * 2, color=colour, alpha=0.3, linewidth=1.6, zorder=2)
    if lb_images:
        interval = wilson_interval(point.public, lb_images)
        axis.plot([point.cv] * 2, interval, color=colour, alpha=0.3, linewidth=1.6, zorder=2)


def _draw_dot(axis: Axes, number: int, point: ScoredEntry, colour: str, is_final: bool) -> None:
    """Draw a dot with its number inside, so that numbers of neighbours do not overlap; FINAL gets a ring."""
    if is_final:
        axis.plot(point.cv, point.public, "o", markersize=20, markerfacecolor="none", color=colour, zorder=3)
    axis.plot(point.cv, point.public, "o", markersize=14, color=colour, markeredgecolor="white", zorder=3)
    axis.annotate(f"{number}", (point.cv, point.public), ha="center", va="center", fontsize=7, color="white", zorder=4)


def _draw_label(axis: Axes, point: ScoredEntry, text: str, colour: str) -> None:
    """Annotate a point with `text`, on the side towards the middle, so that the text stays inside the figure."""
    is_right = point.cv > sum(axis.get_xlim()) / 2
    axis.annotate(
        text,
        (point.cv, point.public),
        xytext=(-13 if is_right else 13, 11),
        textcoords="offset points",
        ha="right" if is_right else "left",
        fontsize=8,
        color=colour,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )


def _draw_diagonal(axis: Axes) -> None:
    """Draw the line of equal scores, without changing the limits of the axes."""
    low, high = axis.get_xlim()
    bottom, top = axis.get_ylim()
    axis.plot([low, high], [low, high], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axis.set(xlim=(low, high), ylim=(bottom, top))


def _shorten(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:31]}…"
