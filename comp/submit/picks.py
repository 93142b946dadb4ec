"""Two files for the end: the best CV, and the best CV and LB together; each with its reason, and whether it is luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy.stats import kendalltau, rankdata

from comp.metrics import METRICS
from comp.stats import wilson_interval
from comp.submit.ledger import LedgerEntry

MIN_POINTS = 5  # points below which no correlation can be significant: of 4, all in order, p is 0.08; of 5 it is 0.017


@dataclass(frozen=True)
class ImageCounts:
    """How many the scores are of; what cannot be counted here is None or absent."""

    public: int | None = None
    cv: Mapping[str, int] = field(default_factory=dict)  # by id


@dataclass(frozen=True)
class Pick:
    entry: LedgerEntry
    reason: str


def propose_picks(entries: Sequence[LedgerEntry], metric: str, images: ImageCounts) -> list[Pick]:
    """At most two, never one content twice. What was not sent may be the first, and is said to be not sent."""
    first = _best_cv(entries, metric)
    rest = [entry for entry in entries if first is None or content_key(entry) != content_key(first.entry)]
    both = _best_combined(entries, metric, images)
    second = both
    if first and both and content_key(both.entry) == content_key(first.entry):
        second = _best_combined(rest, metric, images)
        second = second and Pick(second.entry, f"next {second.reason}")
    return [pick for pick in (first, second) if pick]


def format_correlation(entries: Sequence[LedgerEntry]) -> str:
    """Kendall's tau of CV and LB, in words."""
    both = [entry for entry in entries if entry.cv is not None and entry.public is not None]
    if len(both) < 2:
        return f"CV against LB: {len(both)} submission{'s have' if len(both) != 1 else ' has'} both"
    tau, chance = kendalltau([entry.cv for entry in both], [entry.public for entry in both])
    if tau != tau:  # all are equal in one of the two
        return f"CV against LB: nothing to rank among {len(both)} submissions, all have the same score"
    verdict = (
        f"says nothing yet: too few (p {chance:.2f})"
        if len(both) < MIN_POINTS
        else f"p {chance:.2g}" + ("" if chance < 0.05 else ", which may be chance")
    )
    return f"CV against LB: rank correlation (Kendall's tau) {tau:.2f} of {len(both)} submissions, {verdict}"


def _best_cv(entries: Sequence[LedgerEntry], metric: str) -> Pick | None:
    known = [entry for entry in entries if entry.cv is not None]
    if not known:
        return None
    best = (max if METRICS[metric].higher_is_better else min)(known, key=lambda entry: entry.cv)
    reason = f"best CV: {best.cv:.4f}"
    if best.cv_low is not None and best.cv_high is not None:
        others = {content_key(entry): entry for entry in known if content_key(entry) != content_key(best)}
        near = sum(best.cv_low <= entry.cv <= best.cv_high for entry in others.values())
        reason += f" [{best.cv_low:.4f}, {best.cv_high:.4f}]{_noise_remark(near)}"
    return Pick(best, reason + ("" if best.sent else "; not sent yet"))


def _best_combined(entries: Sequence[LedgerEntry], metric: str, images: ImageCounts) -> Pick | None:
    """Accuracies are counts, so of two independent ones the mean by images is the best there is. Of other metrics no
    such weight is known: there the mean of ranks."""
    both = [entry for entry in entries if entry.cv is not None and entry.public is not None]
    if not both:
        return None
    if metric == "accuracy" and images.public and all(entry.id in images.cv for entry in both):
        return _by_images(both, images.public, images.cv)
    return _by_ranks(both, metric)


def _by_images(both: Sequence[LedgerEntry], public: int, cv: Mapping[str, int]) -> Pick:
    def value(entry: LedgerEntry) -> float:
        return (entry.cv * cv[entry.id] + entry.public * public) / (cv[entry.id] + public)

    best = max(both, key=lambda entry: (value(entry), entry.cv))
    low, high = wilson_interval(value(best), cv[best.id] + public)
    near = sum(low <= value(entry) <= high for entry in both if content_key(entry) != content_key(best))
    return Pick(
        best,
        f"best CV and LB together: {value(best):.4f} [{low:.4f}, {high:.4f}] of CV {best.cv:.4f} "
        f"on {cv[best.id]:,} images and LB {best.public:.4f} on {public:,}{_noise_remark(near)}",
    )


def _by_ranks(both: Sequence[LedgerEntry], metric: str) -> Pick:
    sign = -1 if METRICS[metric].higher_is_better else 1
    ranks = (rankdata([sign * entry.cv for entry in both]) + rankdata([sign * entry.public for entry in both])) / 2
    place = min(range(len(both)), key=lambda place: (ranks[place], sign * both[place].cv))
    return Pick(
        both[place],
        f"best CV and LB together: mean rank {ranks[place]:g} of {len(both)}, CV "
        f"{both[place].cv:.4f} and LB {both[place].public:.4f}; noise unknown",
    )


def _noise_remark(near: int) -> str:
    return f"; {near} other{'s are' if near > 1 else ' is'} inside the noise" if near else ""


def content_key(entry: LedgerEntry) -> str:
    """Two names of one content are one submission."""
    return entry.sent_sha256 or entry.written_sha256 or entry.id
