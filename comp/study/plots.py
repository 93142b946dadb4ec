"""Figures of a study: scores trial by trial, scores against each key, importances, and all keys side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp.figures import GOOD, QUIET, new_figure, page_style, save_figure, style_axis, use_log_scale
from comp.records.study import StudyRecord
from comp.text import format_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_KEYS = 8  # that are drawn


@dataclass(frozen=True)
class TrialPoint:
    """A trial as it is drawn: its values, and its score if it is finished."""

    number: int
    values: Mapping[str, Any]
    score: float | None


def draw_history(points: Sequence[TrialPoint], metric: str, higher_is_better: bool) -> Figure:
    """Return the score of each trial, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    scored = [(point.number, point.score) for point in points if point.score is not None]
    figure = new_figure(4.5, 2.8)
    axis = figure.subplots()
    best: list[float] = []
    for _, score in scored:
        best.append(score if not best else (max if higher_is_better else min)(best[-1], score))
    numbers = [number for number, _ in scored]
    axis.step(numbers, best, where="post", color=GOOD, linewidth=1.4, label="best so far")
    axis.plot(numbers, [score for _, score in scored], "o", color=QUIET, markersize=4, label="trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel(format_metric(metric))
    if scored:
        axis.legend()
    style_axis(axis, label="trial", grid="both")
    return figure


def draw_key(points: Sequence[TrialPoint], key: str, metric: str) -> Figure:
    """Return the score against one key, of the trials that have it."""
    scored = [(point.values[key], point.score) for point in points if point.score is not None and key in point.values]
    is_number = all(_is_number(value) for value, _ in scored)
    figure = new_figure(4.5, 2.8)
    axis = figure.subplots()
    values = [value if is_number else str(value) for value, _ in scored]
    axis.plot(values, [score for _, score in scored], "o", color=GOOD, markersize=5, alpha=0.7)
    if is_number and _is_wide(values):
        use_log_scale(axis, "x")
    axis.set_ylabel(format_metric(metric))
    style_axis(axis, label=key, grid="both")
    return figure


def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Return a bar per key: its share of the variance of scores."""
    keys = sorted(importances, key=lambda key: importances[key])
    figure = new_figure(4.5, 0.8 + 0.3 * len(keys))
    axis = figure.subplots()
    axis.barh(keys, [importances[key] for key in keys], color=GOOD, height=0.6)
    axis.set_xlim(0, 1)
    style_axis(axis, label="share of the variance of scores")
    return figure


def draw_parallel(points: Sequence[TrialPoint], keys: Sequence[str], metric: str, higher_is_better: bool) -> Figure:
    """Return a line per finished trial through an axis per key to its score; the best quarter is coloured."""
    keys = list(keys[:MAX_KEYS])
    scored = [point for point in points if point.score is not None]
    ranked = sorted(scored, key=lambda point: point.score or 0.0, reverse=higher_is_better)
    best = {point.number for point in ranked[: max(1, len(ranked) // 4)]}
    columns = [_positions([point.values.get(key) for point in scored]) for key in keys]
    columns.append(_positions([point.score for point in scored]))
    figure = new_figure(max(4.5, 0.9 * len(columns)), 3.0)
    axis = figure.subplots()
    for row, point in enumerate(scored):
        heights = [positions[row] for positions, _ in columns]
        colour, order = (GOOD, 3) if point.number in best else (QUIET, 2)
        axis.plot(range(len(columns)), heights, color=colour, linewidth=1.0, alpha=0.8, zorder=order)
    for column, (_, ticks) in enumerate(columns):
        _write_ticks(axis, column, ticks)
    axis.set_xticks(range(len(columns)), [*keys, format_metric(metric)], rotation=20, ha="right", fontsize=7)
    axis.set_yticks([])
    axis.set_ylim(-0.08, 1.08)
    axis.grid(axis="x")
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return figure


def pareto_front(points: list[tuple[float, float]], higher_is_better: bool) -> list[tuple[float, float]]:
    """Return the points (cost, score) that no other beats in both, the cheapest first."""
    sign = 1 if higher_is_better else -1
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * score > sign * front[-1][1]:
            front.append((cost, score))
    return front


def draw_front(record: StudyRecord) -> Figure:
    """Return the score of each trial against the time of a prediction; the Pareto front is joined."""
    complete = [trial.scores for trial in record.trials if trial.scores]
    points = [(scores[1], scores[0]) for scores in complete]
    front = pareto_front(points, record.higher_is_better[0])
    figure = new_figure(4.5, 2.8)
    axis = figure.subplots()
    axis.plot(*zip(*points, strict=True), "o", color=QUIET, markersize=4, label="trial")
    axis.step(
        *zip(*front, strict=True), "o-", where="post", color=GOOD, markersize=5, linewidth=1.4, label="Pareto front"
    )
    axis.set_ylabel(format_metric(record.objectives[0]))
    axis.legend()
    style_axis(axis, label="milliseconds per image and fold model", grid="both")
    return figure


def _positions(values: Sequence[Any]) -> tuple[list[float], dict[str, float]]:
    """Return heights between 0 and 1, NaN where there is no value, and the texts of the axis."""
    present = [value for value in values if value is not None]
    if present and all(_is_number(value) for value in present):
        low, high = min(present), max(present)
        if _is_wide(present):
            heights = [
                float("nan") if value is None else math.log(value / low) / math.log(high / low) for value in values
            ]
        else:
            span = high - low or 1.0
            heights = [math.nan if value is None else (value - low) / span for value in values]
        return heights, {f"{low:.3g}": 0.0, f"{high:.3g}": 1.0}
    names = sorted({str(value) for value in present})
    by_name = {name: index / max(1, len(names) - 1) for index, name in enumerate(names)}
    return [math.nan if value is None else by_name[str(value)] for value in values], by_name


def _write_ticks(axis: Axes, column: int, ticks: Mapping[str, float]) -> None:
    for text, height in ticks.items():
        axis.text(column + 0.03, height, text, fontsize=6, va="center")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_wide(values: Sequence[Any]) -> bool:
    """Return whether a logarithmic scale shows the values better."""
    return bool(values) and min(values) > 0 and max(values) > 20 * min(values)


def save_figures(record: StudyRecord, directory: Path) -> None:
    """Write the figures of a study as PNG."""
    points = [TrialPoint(trial.number, trial.values, trial.scores[0] if trial.scores else None)
              for trial in record.trials]  # fmt: skip
    if not any(point.score is not None for point in points):
        return
    keys = list(dict.fromkeys(key for point in points for key in point.values))
    metric, higher_is_better = record.objectives[0], record.higher_is_better[0]
    with page_style():
        figures = {
            "history": draw_history(points, metric, higher_is_better),
            "parallel": draw_parallel(points, keys, metric, higher_is_better),
            **{f"key-{key}": draw_key(points, key, metric) for key in keys[:MAX_KEYS]},
        }
        if len(record.objectives) > 1:
            figures["front"] = draw_front(record)
        if record.importances:
            figures["importances"] = draw_importances(record.importances)
        for name, figure in figures.items():
            save_figure(directory / f"{file_name(name)}.png", figure)


def file_name(text: str) -> str:
    """Return a figure's name as that of a file."""
    return re.sub(r"[^\w.-]", "-", text)
