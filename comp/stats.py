"""Is one candidate better than another, or is it noise? Both answered the same images, so they are compared in pairs.

Every candidate is scored on the same resamples of the images; what two of them differ by on each is the difference's
spread. The draws depend on the number of images alone: `a` against `b` is exactly `b` against `a` with the sign
turned, the order of candidates and of classes changes nothing, and all pairs cost no more than scoring each candidate.

The noise is that of the images: how another training of the same model would differ is not in it. And p is that of one
pair alone: of twenty pairs without a difference, one looks different.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import bdtr

from comp.metrics import METRICS, RESAMPLES, log_losses, score

SIGNIFICANCE_LEVEL = 0.05  # the p from which on a difference is called noise
MAX_BLOCK_SIZE = 2**23  # numbers held at once: 64 MiB, whatever the number of images and classes


@dataclass(frozen=True)
class Comparison:
    """`difference` is positive where the first is the better one, also where less is better (log loss)."""

    difference: float
    interval: tuple[float, float]  # 95 %, by paired bootstrap
    p: float  # two-sided: McNemar's exact test for accuracy, else of the bootstrap

    @property
    def inside_noise(self) -> bool:
        return self.p >= SIGNIFICANCE_LEVEL

    @property
    def verdict(self) -> str:
        return "inside the noise" if self.inside_noise else "better" if self.difference > 0 else "worse"

    def __str__(self) -> str:
        low, high = self.interval
        p = f"p {self.p:.3f}" if self.p >= 0.001 else "p <.001"
        return f"{self.difference:+z.4f} [{low:+z.4f}, {high:+z.4f}]  {p}  {self.verdict}"


@dataclass(frozen=True, eq=False)
class ResampledScore:
    """A candidate as `compare` needs it."""

    metric: str
    score: float
    resampled: np.ndarray  # the score on each resample
    right: np.ndarray  # per image


def compare_predictions(metric: str, truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> Comparison:
    """`a` against `b`, each (images, classes) probabilities of the same images in the same order."""
    return compare(*resample_scores(metric, truth, [a, b]))


def resample_scores(metric: str, truth: np.ndarray, candidates: Sequence[np.ndarray]) -> list[ResampledScore]:
    """Every candidate on the same resamples; `compare` then takes any two of them at no cost."""
    evaluate = [_on_resamples(metric, truth, candidate) for candidate in candidates]
    blocks = [[one(times) for one in evaluate] for times in _draws(len(truth), candidates[0].shape[1])]
    return [
        ResampledScore(metric, score(metric, truth, candidate), np.concatenate(values), candidate.argmax(1) == truth)
        for candidate, values in zip(candidates, zip(*blocks, strict=True), strict=True)
    ]


def compare(a: ResampledScore, b: ResampledScore) -> Comparison:
    sign = 1 if METRICS[a.metric].higher_is_better else -1
    spread = sign * (a.resampled - b.resampled)
    low, high = np.percentile(spread, [2.5, 97.5])
    p = mcnemar_p_value(a.right, b.right) if a.metric == "accuracy" else _two_sided(spread)
    return Comparison(sign * (a.score - b.score), (float(low), float(high)), p)


def mcnemar_p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Of the images that only one of the two has right, each is the toss of a fair coin if they are equally good."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(min(1.0, 2 * bdtr(min(only_a, only_b), only_a + only_b, 0.5)))  # the two tails are alike


def _two_sided(spread: np.ndarray) -> float:
    """Twice the share of resamples on the other side of zero, and never zero: no number of draws can show that."""
    beyond = min((spread <= 0).sum(), (spread >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(spread) + 1)))


def _on_resamples(metric: str, truth: np.ndarray, probabilities: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """times drawn (images, resamples) -> scores (resamples,)"""
    of = METRICS[metric].of
    if of is None:
        losses = log_losses(truth, probabilities)
        return lambda times: losses @ times / len(losses)
    images, classes = probabilities.shape
    cells = truth.astype(np.int64) * classes + probabilities.argmax(1)
    in_cell = csr_array((np.ones(images), (cells, np.arange(images))), shape=(classes * classes, images))
    return lambda times: of((in_cell @ times).T.reshape(-1, classes, classes))


def _draws(images: int, classes: int) -> Iterator[np.ndarray]:
    """How often each image is in each resample, (images, resamples), in blocks of as many resamples as BLOCK allows."""
    draw = np.random.default_rng(0)  # one seed: the same predictions always print the same
    most = max(1, MAX_BLOCK_SIZE // max(images, classes * classes))
    for start in range(0, RESAMPLES, most):
        here = min(most, RESAMPLES - start)
        places = draw.integers(images, size=(here, images)) * here + np.arange(here)[:, None]
        yield np.bincount(places.ravel(), minlength=here * images).reshape(images, here).astype(float)
