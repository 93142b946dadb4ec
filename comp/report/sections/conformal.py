"""Sets of classes, or intervals of numbers, that hold the truth with a chosen probability."""

from __future__ import annotations

import numpy as np

from comp.figures import GOOD, new_figure, style_axis
from comp.report.conformal import PredictionSets, prediction_intervals, prediction_sets
from comp.report.oof import OofPredictions
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.text import format_share

LEVELS = (0.9, 0.95, 0.98, 0.99, 0.995)
SHOWN_LEVEL = 0.95
MAX_BARS = 10


def build(source: Source) -> Section | None:
    oof = source.oof
    if oof is None or (oof.task.form == "classes" and not oof.has_confidence) or oof.task.form == "tags":
        return None
    return _of_numbers(oof) if oof.task.form == "numbers" else _of_classes(oof)


def _of_classes(oof: OofPredictions) -> Section | None:
    levels = [prediction_sets(oof.targets, oof.predictions, oof.folds, level) for level in LEVELS]
    sets = [of_level for of_level in levels if of_level is not None]
    if not sets:
        return None
    shown = next(of_level for of_level in sets if of_level.level == SHOWN_LEVEL)
    accuracy = float((~oof.is_wrong).mean())
    values = {"sets": sets, "shown": shown, "images": len(oof.images), "accuracy": accuracy}
    text = (
        f"Prediction sets at {format_share(shown.level)}: {format_share(shown.coverage)} hold the label, mean size "
        f"{shown.sizes.mean():.2f}"
    )
    return Section(
        "Prediction sets",
        "sets",
        "conformal.html",
        values,
        (_draw_sizes(shown),) if shown.sizes.max() > 1 else (),
        (Finding("trust", text, "fine" if shown.coverage > shown.level - 0.02 else "notice"),),
    )


def _draw_sizes(sets: PredictionSets) -> Figure:
    sizes = np.minimum(sets.sizes, MAX_BARS)
    counts = np.bincount(sizes, minlength=min(sets.members.shape[1], MAX_BARS) + 1)[1:]
    figure = new_figure(4.5, 2.6)
    axis = figure.subplots()
    positions = np.arange(1, len(counts) + 1)
    bars = axis.bar(positions, counts, color=GOOD, width=0.7)
    axis.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=7)
    labels = [str(position) for position in positions]
    if sets.members.shape[1] > MAX_BARS:
        labels[-1] += "+"
    axis.set_xticks(positions, labels)
    axis.set_ylabel("images")
    style_axis(axis, label="classes in the set", grid="both")
    return Figure("sets", figure, f"Sizes of the sets at {format_share(sets.level)} (n = {len(sizes):,} images)")


def _of_numbers(oof: OofPredictions) -> Section | None:
    levels = [prediction_intervals(oof.targets, oof.predictions[:, 0], oof.folds, level) for level in LEVELS]
    intervals = [of_level for of_level in levels if of_level is not None]
    if not intervals:
        return None
    shown = next(of_level for of_level in intervals if of_level.level == SHOWN_LEVEL)
    values = {"intervals": intervals, "shown": shown, "name": oof.task.columns[0], "images": len(oof.images)}
    text = (
        f"{format_share(shown.level)} intervals: the answer ± {shown.half_width:.4g}, which hold "
        f"{format_share(shown.coverage)} of the numbers"
    )
    return Section("Intervals", "sets", "intervals.html", values, (), (Finding("trust", text, "fine"),))
