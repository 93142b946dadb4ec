"""The scores of each tag, for images with any number of tags."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from comp.figures import GOOD, QUIET, new_figure, style_axis
from comp.report.class_scores import ClassScore, score_classes
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.text import format_share, shorten

MAX_ROWS = 40  # tags that are drawn: the commonest


def build(source: Source) -> Section | None:
    oof = source.oof
    if oof is None or oof.task.form != "tags":
        return None
    answers = oof.predictions >= 0.5
    scores = [
        score_classes(oof.targets[:, column].astype(np.int64), answers[:, column].astype(np.int64), ("no", tag))[1]
        for column, tag in enumerate(oof.task.columns)
    ]
    exact = float((answers == (oof.targets == 1)).all(1).mean())
    values = {
        "scores": scores,
        "exact": exact,
        "images": len(oof.images),
        "true": float(oof.targets.sum(1).mean()),
        "answered": float(answers.sum(1).mean()),
    }
    weakest = min((score for score in scores if score.images), key=lambda score: score.f1)
    given = answers.sum(0)
    never = [score.name for column, score in enumerate(scores) if score.images and not given[column]]
    untagged = int((~answers.any(1) & (oof.targets.sum(1) > 0)).sum())
    findings = (
        Finding("good", f"All tags of an image are right for {format_share(exact)} of the images", "fine"),
        Finding("wrong", f"{untagged:,} of {len(oof.images):,} images have a tag and are given none"),
        Finding("wrong", f"Lowest F1: {weakest.name} {weakest.f1:.3f} of {weakest.images} images"),
        *([Finding("wrong", f"Never given: {', '.join(never[:5])}", "problem")] if never else []),
    )
    return Section("Tags", "tags", "tags.html", values, (_draw(scores, len(oof.images)),), findings)


def _draw(scores: list[ClassScore], images: int) -> Figure:
    shown = sorted(scores, key=lambda score: -score.images)[:MAX_ROWS]
    figure = new_figure(4.5, 0.7 + 0.22 * len(shown))
    axis = figure.subplots()
    rows = range(len(shown))
    for row, score in zip(rows, shown, strict=True):
        if interval := score.intervals["f1"]:
            axis.hlines(row, *interval, color=QUIET, linewidth=2)
    axis.plot([score.f1 for score in shown], rows, "o", color=GOOD, markersize=5)
    axis.set_yticks(rows, [f"{shorten(score.name, 24)} ({score.images})" for score in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(6))
    style_axis(axis, label="F1; line: 95 %")
    return Figure("tags", figure, f"F1 of each tag, its images in brackets (n = {images:,} images)")
