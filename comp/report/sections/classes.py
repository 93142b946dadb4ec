"""The confusion matrix in counts and shares, and the scores of each class with intervals."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from comp.figures import INK, new_figure, style_axis
from comp.metrics import confusion
from comp.report.class_scores import ClassScore, commonest_confusions, score_classes
from comp.report.oof import OofPredictions
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.text import format_interval, format_share, shorten

MAX_TABLE = 16  # classes whose matrix is a table in the page: a phone shows the columns
MAX_MATRIX = 100  # classes whose matrix is drawn
MAX_CONFUSIONS = 24
MAX_NAME = 24
SHADES = LinearSegmentedColormap.from_list("shades", [(*(0.106, 0.424, 0.659), 0.0), (*(0.106, 0.424, 0.659), 1.0)])


def build(source: Source) -> Section | None:
    oof = source.oof
    if oof is None or not oof.has_classes:
        return None
    names, classes = oof.task.columns, len(oof.task.columns)
    scores = score_classes(oof.targets, oof.predicted, names)
    matrix = confusion(oof.targets, oof.predictions) if classes <= MAX_MATRIX else None
    confusions = commonest_confusions(oof.targets, oof.predicted, classes, MAX_CONFUSIONS)
    values = {
        "names": names,
        "scores": scores,
        "matrix": matrix.tolist() if matrix is not None and classes <= MAX_TABLE else None,
        "confusions": confusions,
        "images": len(oof.images),
        "has_figure": matrix is not None and classes > MAX_TABLE,
    }
    figures = (_draw_matrix(matrix, oof, is_inline=classes > MAX_TABLE),) if matrix is not None else ()
    return Section("Classes", "classes", "classes.html", values, figures, tuple(_findings(oof, scores)))


def _draw_matrix(matrix: np.ndarray, oof: OofPredictions, is_inline: bool) -> Figure:
    """Draw the shares of each true class, with counts where they are readable."""
    names, classes = oof.task.columns, len(matrix)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(9.0, max(3.2, 0.45 * classes))
    figure = new_figure(side + 1.4, side + 1)
    axis = figure.subplots()
    axis.imshow(shares, cmap=SHADES, vmin=0, vmax=1, interpolation="nearest")
    if classes <= MAX_TABLE:
        for row, column in np.argwhere(matrix > 0):
            colour = "white" if shares[row, column] > 0.5 else INK
            axis.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=7)
    size = 7 if classes <= 40 else 4
    labels = [shorten(name, MAX_NAME) for name in names]
    axis.set_xticks(range(classes), labels, rotation=90, fontsize=size)
    axis.set_yticks(range(classes), labels, fontsize=size)
    axis.set_ylabel("label")
    style_axis(axis, label="predicted")
    axis.grid(False)
    caption = f"Share of each label's images by predicted class; white 0, blue 1 (n = {len(oof.images):,} images)"
    return Figure("confusion", figure, caption, is_inline)


def _findings(oof: OofPredictions, scores: list[ClassScore]) -> list[Finding]:
    wrong, images = int(oof.is_wrong.sum()), len(oof.images)
    if not wrong:
        return [Finding("wrong", f"None of {images:,} images is wrong", "fine")]
    findings = [
        Finding("wrong", f"{wrong:,} of {images:,} images are wrong ({format_share(wrong / images)})", "notice")
    ]
    names = oof.task.columns
    worst = commonest_confusions(oof.targets, oof.predicted, len(names), 1)[0]
    if len(names) > 2:
        text = f"Most often {names[worst.label]} is taken for {names[worst.predicted]}: {worst.images} images"
        findings.append(Finding("wrong", f"{text} ({format_share(worst.share)} of {names[worst.label]})", "notice"))
    weakest = min((score for score in scores if score.images), key=lambda score: score.recall)
    interval = weakest.intervals["recall"]
    findings.append(
        Finding(
            "wrong",
            f"Lowest recall: {weakest.name} {weakest.recall:.3f}"
            + (f" {format_interval(interval, 3)}" if interval else "")
            + f" of {weakest.images} images",
            "problem" if weakest.recall < 0.5 else "notice",
        )
    )
    if oof.task.kind == "ordinal":
        far = int((abs(oof.targets - oof.predicted) > 1).sum())
        findings.append(
            Finding("wrong", f"{far:,} images are wrong by two grades or more ({format_share(far / images)})")
        )
    return findings
