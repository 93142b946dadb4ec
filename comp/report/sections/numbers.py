"""Predicted against true numbers, and the distribution of the errors."""

from __future__ import annotations

import numpy as np

from comp.figures import GOOD, QUIET, new_figure, style_axis
from comp.metrics import METRICS, score
from comp.report.oof import OofPredictions
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.stats import bootstrap_interval

SCORES = ("rmse", "mae", "r2", "pearson", "spearman")
MAX_POINTS = 4000  # an SVG of more is slow


def build(source: Source) -> Section | None:
    oof = source.oof
    if oof is None or oof.task.form != "numbers":
        return None
    errors = oof.task.errors(oof.targets, oof.predictions)
    scores = {
        name: (score(name, oof.targets, oof.predictions), bootstrap_interval(name, oof.targets, oof.predictions))
        for name in SCORES
        if name in METRICS
    }
    name = oof.task.columns[0]
    bias = float(errors.mean())
    values = {"scores": scores, "name": name, "images": len(oof.images), "bias": bias}
    worst = float(abs(errors).max())
    findings = (
        Finding("wrong", f"Predictions of {name} are {'above' if bias > 0 else 'below'} by {abs(bias):.3g} on average"),
        Finding("wrong", f"The largest error is {worst:.4g}; half of them are below {np.median(abs(errors)):.3g}"),
    )
    figures = (_draw_scatter(oof), _draw_errors(errors, name))
    return Section("Numbers", "numbers", "numbers.html", values, figures, findings)


def _draw_scatter(oof: OofPredictions) -> Figure:
    chosen = np.linspace(0, len(oof.images) - 1, min(len(oof.images), MAX_POINTS)).astype(int)
    targets, predictions = oof.targets[chosen], oof.predictions[chosen, 0]
    name = oof.task.columns[0]
    figure = new_figure(4.5, 3.6)
    axis = figure.subplots()
    ends = [min(targets.min(), predictions.min()), max(targets.max(), predictions.max())]
    axis.plot(ends, ends, color=QUIET, linestyle="--", linewidth=0.9)
    axis.plot(targets, predictions, "o", color=GOOD, markersize=2.5, alpha=0.35, markeredgewidth=0)
    axis.set_ylabel(f"predicted {name}")
    style_axis(axis, label=f"true {name}", grid="both")
    return Figure("numbers", figure, f"Predicted against true {name}; dashed: equal (n = {len(chosen):,} images)")


def _draw_errors(errors: np.ndarray, name: str) -> Figure:
    figure = new_figure(4.5, 3.6)
    axis = figure.subplots()
    axis.hist(errors, bins=40, color=GOOD, alpha=0.8)
    axis.axvline(0, color=QUIET, linestyle="--", linewidth=0.9)
    axis.set_ylabel("images")
    style_axis(axis, label=f"predicted minus true {name}", grid="both")
    return Figure("errors", figure, f"Errors of {name} (n = {len(errors):,} images)")
