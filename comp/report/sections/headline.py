"""The headline: the score with its interval, of each fold, of the best and the last epoch, and beside the baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comp.data.folds import describe_split_groups
from comp.figures import GOOD, GRID, QUIET, new_figure, style_axis
from comp.metrics import find_metric
from comp.records.run import Unlabelled, describe_unlabelled
from comp.records.scores import ScoreReport
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.stats import score_report
from comp.text import format_interval, format_metric

SCORES = (
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "macro_specificity",
    "weighted_f1",
    "log_loss",
)


@dataclass(frozen=True)
class Headline:
    """The scores that a run or a blend has on record."""

    metric: str
    score: float
    interval: tuple[float, float]
    per_fold: dict[int, float]
    images: int
    baseline: float | None = None
    folds_missing: int = 0
    split_groups: int = 0
    unlabelled_images: tuple[Unlabelled, ...] = ()  # whose pixels the models have seen
    best: float | None = None  # of a run: the OOF score of each fold's best epoch
    last: float | None = None
    best_minus_last: float | None = None  # positive: better
    naive: float | None = None  # of a blend: its score on the images that it was fitted to
    is_optimistic: bool = False
    epochs: tuple[tuple[int, float, float], ...] = ()  # of a run: fold, score of its best and of its last epoch

    @property
    def sd(self) -> float | None:
        """The standard deviation over folds; None for one fold."""
        return float(np.std(list(self.per_fold.values()), ddof=1)) if len(self.per_fold) > 1 else None


def build(source: Source) -> Section | None:
    headline = _of_blend(source) if source.blend else _of_run(source)
    if headline is None:
        return None
    return Section(
        "Score",
        "score",
        "headline.html",
        {"headline": headline, "report": _report(source), "names": _shown_scores(source)},
        figures=(_draw_folds(headline),) if len(headline.per_fold) > 1 else (),
        findings=(*_good(headline), *_trust(headline)),
    )


def _of_run(source: Source) -> Headline | None:
    run, metrics, oof = source.run, source.metrics, source.oof
    if run is None or metrics is None or metrics.scores is None or oof is None:
        return None
    scores = metrics.scores
    return Headline(
        metrics.metric,
        scores.oof.kept.score,
        scores.oof.kept.interval,
        dict(zip(metrics.folds_done, scores.per_fold[metrics.kept], strict=True)),
        len(oof.images),
        scores.baseline,
        len(run.record.folds) - len(metrics.folds_done),
        metrics.split_groups,
        run.record.unlabelled_images,
        scores.oof.best.score,
        scores.oof.last.score,
        scores.best_minus_last,
        is_optimistic=scores.oof.kept.optimistic,
        epochs=tuple(zip(metrics.folds_done, scores.per_fold["best"], scores.per_fold["last"], strict=True)),
    )


def _of_blend(source: Source) -> Headline | None:
    blend = source.blend
    if blend is None:
        return None
    folds = sorted(set(source.oof.folds.tolist())) if source.oof else range(len(blend.oof.per_fold))
    return Headline(
        blend.metric,
        blend.oof.score,
        blend.oof.interval,
        dict(zip(folds, blend.oof.per_fold, strict=True)),
        blend.oof.images,
        split_groups=blend.split_groups,
        unlabelled_images=blend.unlabelled_images,
        naive=blend.oof.naive,
        is_optimistic=blend.optimistic,
    )


def _report(source: Source) -> ScoreReport | None:
    """Return all scores of classes; None for other kinds, whose own sections have theirs."""
    oof = source.oof
    if oof is None or not oof.has_classes:
        return None
    return score_report(oof.targets, oof.predictions, oof.task.columns)


def _shown_scores(source: Source) -> list[str]:
    """Return the scores of the table; where thresholds have moved the predictions, their log loss has no meaning."""
    is_decided = source.oof is not None and source.oof.is_decided
    return [name for name in SCORES if not (is_decided and name == "log_loss")]


def _good(headline: Headline) -> list[Finding]:
    name, low, high = format_metric(headline.metric), *headline.interval
    remark = f"{name} out of fold; 95 % interval {low:.3f} to {high:.3f}"
    findings = [Finding("good", f"{headline.score:.4f}", "fine", is_headline=True, remark=remark)]
    if headline.baseline is not None:
        is_better = find_metric(headline.metric).sign * (headline.score - headline.baseline) > 0
        text = f"Without looking at an image: {headline.baseline:.4f}"
        findings.append(Finding("good", text, "fine" if is_better else "problem"))
    if headline.sd is not None:
        values = headline.per_fold.values()
        findings.append(
            Finding("good", f"Folds from {min(values):.4f} to {max(values):.4f}, sd {headline.sd:.4f}", "fine")
        )
    return findings


def _trust(headline: Headline) -> list[Finding]:
    findings = []
    if headline.folds_missing:
        done, missing = len(headline.per_fold), headline.folds_missing
        findings.append(Finding("trust", f"Only {done} of {done + missing} folds are done", "notice"))
    if remark := describe_split_groups(headline.split_groups):
        findings.append(Finding("trust", remark, "problem"))
    if remark := describe_unlabelled(headline.unlabelled_images):
        findings.append(Finding("trust", remark[0].upper() + remark[1:], "notice"))
    if headline.is_optimistic:
        text = "Optimistic: each fold's epoch was chosen on the images that are scored"
        findings.append(Finding("trust", text, "problem"))
    elif headline.best_minus_last is not None:
        text = f"The epoch was not chosen by the score; choosing the best would add {headline.best_minus_last:+.4f}"
        findings.append(Finding("trust", text, "fine"))
    if headline.naive is not None:
        text = f"Cross-fitted; fitted and scored on the same images it would be {headline.naive:.4f}"
        findings.append(Finding("trust", text, "fine"))
    return findings


def _draw_folds(headline: Headline) -> Figure:
    """Draw the score of each fold beside that of all images with its interval."""
    figure = new_figure(4.5, 0.6 + 0.24 * (len(headline.per_fold) + 1))
    axis = figure.subplots()
    axis.axvspan(*headline.interval, color=GRID, zorder=0)
    rows = range(len(headline.per_fold))
    axis.plot(list(headline.per_fold.values()), rows, "o", color=QUIET, markersize=6)
    axis.hlines(len(rows), *headline.interval, color=GOOD, linewidth=2)
    axis.plot([headline.score], [len(rows)], "o", color=GOOD, markersize=8)
    axis.set_yticks([*rows, len(rows)], [*(f"fold {fold}" for fold in headline.per_fold), "all, 95 %"])
    axis.set_ylim(len(rows) + 0.6, -0.6)
    style_axis(axis, label=f"{format_metric(headline.metric)}, out of fold")
    caption = (
        f"The {format_metric(headline.metric)} of each fold, and of all out-of-fold predictions with its interval "
        f"{format_interval(headline.interval)} (n = {headline.images:,} images)"
    )
    return Figure("score", figure, caption)
