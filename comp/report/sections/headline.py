"""The headline: the score with its interval, of each fold, and of the best and the last epoch."""

from __future__ import annotations

from dataclasses import dataclass

from comp.metrics import find_metric
from comp.report.section import Finding, Section
from comp.report.source import Source
from comp.text import format_interval


@dataclass(frozen=True)
class Headline:
    """The scores that a run or a blend has on record."""

    metric: str
    score: float
    interval: tuple[float, float]
    per_fold: dict[str, float]
    images: int


def build(source: Source) -> Section | None:
    headline = _of_blend(source) if source.blend else _of_run(source)
    if headline is None:
        return None
    return Section(
        "Score",
        "score",
        "headline.html",
        {"headline": headline, "higher_is_better": find_metric(headline.metric).higher_is_better},
        findings=(
            Finding("good", f"{headline.metric} {headline.score:.4f} {format_interval(headline.interval)}", "fine"),
        ),
    )


def _of_run(source: Source) -> Headline | None:
    metrics, oof = source.metrics, source.oof
    if metrics is None or metrics.scores is None or oof is None:
        return None
    scores = metrics.scores
    per_fold = dict(zip(map(str, metrics.folds_done), scores.per_fold[metrics.kept], strict=True))
    return Headline(metrics.metric, scores.oof.kept.score, scores.oof.kept.interval, per_fold, len(oof.images))


def _of_blend(source: Source) -> Headline | None:
    if source.blend is None:
        return None
    oof = source.blend.oof
    per_fold = {str(fold): score for fold, score in enumerate(oof.per_fold)}
    return Headline(oof.metric, oof.score, oof.interval, per_fold, oof.images)
