"""Propose two submissions to choose at the end: the best CV, and the best CV and LB together, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scipy.stats import kendalltau, rankdata

from comp.metrics import find_metric
from comp.stats import wilson_interval
from comp.submit.ledger import LedgerEntry

MIN_POINTS = 5  # points below which no correlation can be significant: of 4, all in order, p is 0.08; of 5 it is 0.017


@dataclass(frozen=True)
class ImageCounts:
    """The numbers of images that the scores were computed on. Unknown numbers are None or absent."""

    public: int | None = None
    cv: Mapping[str, int] = field(default_factory=dict)  # id -> number of images


@dataclass(frozen=True)
class Pick:
    """A proposed submission, and why."""

    entry: LedgerEntry
    reason: str


@dataclass(frozen=True)
class ScoredEntry:
    """An entry with both scores."""

    entry: LedgerEntry
    cv: float
    public: float


def propose_picks(entries: Sequence[LedgerEntry], metric: str, images: ImageCounts) -> list[Pick]:
    """Return at most two picks with different contents. The first may be a submission that was not sent yet."""
    by_cv = _best_cv(entries, metric)
    combined = _best_combined(entries, metric, images)
    if by_cv and combined and content_key(combined.entry) == content_key(by_cv.entry):
        rest = [entry for entry in entries if content_key(entry) != content_key(by_cv.entry)]
        combined = _best_combined(rest, metric, images)
        combined = combined and Pick(combined.entry, f"next {combined.reason}")
    return [pick for pick in (by_cv, combined) if pick]


def format_correlation(entries: Sequence[LedgerEntry]) -> str:
    """Return a line with Kendall's tau of CV and LB, and whether it is significant."""
    points = list(entries_with_both_scores(entries))
    if len(points) < 2:
        return f"CV against LB: {len(points)} submission{'s have' if len(points) != 1 else ' has'} both"
    tau, p = kendalltau([point.cv for point in points], [point.public for point in points])
    if tau != tau:  # NaN: all values of one score are equal
        return f"CV against LB: no ranks, because all {len(points)} submissions have the same score"
    if len(points) < MIN_POINTS:
        verdict = f"too few to be significant (p {p:.2f})"
    else:
        verdict = f"p {p:.2g}" + ("" if p < 0.05 else ", not significant")
    return f"CV against LB: rank correlation (Kendall's tau) {tau:.2f} of {len(points)} submissions, {verdict}"


def entries_with_both_scores(entries: Sequence[LedgerEntry]) -> Iterator[ScoredEntry]:
    """Yield the entries that have a CV and a public score."""
    for entry in entries:
        if entry.cv is not None and entry.public is not None:
            yield ScoredEntry(entry, entry.cv, entry.public)


def _best_cv(entries: Sequence[LedgerEntry], metric: str) -> Pick | None:
    """Return the pick with the best CV, with the number of others inside its interval as part of the reason."""
    scores = [(entry, entry.cv) for entry in entries if entry.cv is not None]
    if not scores:
        return None
    best, cv = (max if find_metric(metric).higher_is_better else min)(scores, key=lambda item: item[1])
    reason = f"best CV: {cv:.4f}"
    if best.cv_low is not None and best.cv_high is not None:
        others = {content_key(entry): score for entry, score in scores if content_key(entry) != content_key(best)}
        within_noise = sum(best.cv_low <= score <= best.cv_high for score in others.values())
        reason += f" [{best.cv_low:.4f}, {best.cv_high:.4f}]{_noise_remark(within_noise)}"
    return Pick(best, reason + ("" if best.sent else "; not sent yet"))


def _best_combined(entries: Sequence[LedgerEntry], metric: str, images: ImageCounts) -> Pick | None:
    """Return the best pick by CV and LB.

    Accuracies are combined by their mean, weighted by the numbers of images: the pooled accuracy. Other metrics cannot
    be pooled, so there the mean of the ranks by CV and by LB decides.
    """
    points = list(entries_with_both_scores(entries))
    if not points:
        return None
    if metric == "accuracy" and images.public and all(point.entry.id in images.cv for point in points):
        return _by_images(points, images.public, images.cv)
    return _by_ranks(points, metric)


def _by_images(points: Sequence[ScoredEntry], public_images: int, cv_images: Mapping[str, int]) -> Pick:
    """Return the pick with the highest mean accuracy over CV and LB images."""

    def mean(point: ScoredEntry) -> float:
        images = cv_images[point.entry.id]
        return (point.cv * images + point.public * public_images) / (images + public_images)

    best = max(points, key=lambda point: (mean(point), point.cv))
    best_images = cv_images[best.entry.id]
    low, high = wilson_interval(mean(best), best_images + public_images)
    others = [point for point in points if content_key(point.entry) != content_key(best.entry)]
    within_noise = sum(low <= mean(point) <= high for point in others)
    return Pick(
        best.entry,
        f"best CV and LB together: {mean(best):.4f} [{low:.4f}, {high:.4f}] of CV {best.cv:.4f} "
        f"on {best_images:,} images and LB {best.public:.4f} on {public_images:,}{_noise_remark(within_noise)}",
    )


def _by_ranks(points: Sequence[ScoredEntry], metric: str) -> Pick:
    """Return the pick with the lowest mean of its ranks by CV and by LB."""
    sign = -1 if find_metric(metric).higher_is_better else 1
    ranks = (rankdata([sign * point.cv for point in points]) + rankdata([sign * point.public for point in points])) / 2
    index = min(range(len(points)), key=lambda index: (ranks[index], sign * points[index].cv))
    best = points[index]
    return Pick(
        best.entry,
        f"best CV and LB together: mean rank {ranks[index]:g} of {len(points)}, CV "
        f"{best.cv:.4f} and LB {best.public:.4f}; noise unknown",
    )


def _noise_remark(within_noise: int) -> str:
    return f"; {within_noise} other{'s are' if within_noise > 1 else ' is'} inside the noise" if within_noise else ""


def content_key(entry: LedgerEntry) -> str:
    """Return a key of the submitted content, because two names of the same content are one submission."""
    return entry.sent_sha256 or entry.written_sha256 or entry.id
