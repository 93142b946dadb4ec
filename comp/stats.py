"""Intervals of scores and paired tests: the one bootstrap, the one paired test and the one verdict of the kit.

An interval or a test measures the noise of the sampled images only, not the variance between trainings of the same
model. p-values are not corrected for multiple comparisons: of twenty pairs without a difference, one looks different.

Two candidates that predict the same images are compared by a paired bootstrap: both are scored on the same resamples of
the images, and the interval is that of the differences. The resamples depend on the number of images alone. Therefore
comparing `b` with `a` gives exactly the negated difference, the order of candidates and classes has no effect, and
comparing all pairs costs no more than scoring each candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import bdtr

from comp.metrics import CLASS_REPORT, PER_CLASS, ClassCounts, confusion, find_metric, score
from comp.metrics.class_counts import ClassSums, class_membership, count_classes, counts_from_sums
from comp.metrics.computation import Computation, Mean, Ranking, Whole
from comp.records.scores import ScoreReport

RESAMPLES = 2000
FEWEST_RESAMPLES = 200
MAX_DRAWN = 40_000_000  # images that are drawn in all: 20,000 have all resamples, 100,000 have 400
MAX_RANKED = 2_000_000  # images times columns up to which a ranking has all resamples
SIGNIFICANCE_LEVEL = 0.05  # a difference with this p or more is inside the noise
MAX_CONFUSION_CLASSES = 100  # of a whole confusion matrix: 10,000 numbers
MAX_CONFUSED = 24  # errors that a report lists instead
MAX_BLOCK_SIZE = 2**22  # numbers held at once: 32 MiB, whatever the number of images and classes


def bootstrap_interval(metric: str, targets: np.ndarray, predictions: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a score over images. The same predictions give the same interval.

    If every image is correct, or every image is incorrect, all resamples may have the same score. The interval is then
    derived from Wilson's interval of the accuracy (see `_interval_without_variation`).
    """
    computation, rng = find_metric(metric).computation(targets), np.random.default_rng(0)
    if isinstance(computation, Mean):
        values = computation.values(targets, predictions)
        count = _resample_count(computation, predictions)
        return _percentile_interval(np.array([rng.choice(values, len(values)).mean() for _ in range(count)]))
    if not isinstance(computation, ClassSums):
        scorer, count = computation.scorer(targets, predictions), _resample_count(computation, predictions)
        blocks = _resamples(rng, len(targets), predictions.shape[1], count)
        return _percentile_interval(np.concatenate([scorer(occurrences) for occurrences in blocks]))
    drawn = _resample_counts(rng, targets, predictions, _resample_count(computation, predictions))
    scores = [computation.from_counts(counts) for counts in drawn]
    low, high = _percentile_interval(np.concatenate(scores))
    predicted = predictions.argmax(1)
    if low == high and (predicted == targets).mean() in (0, 1):
        shape = (predictions.shape[1],) * 2
        return _interval_without_variation(
            computation, metric, csr_array((np.ones(len(targets)), (targets, predicted)), shape)
        )
    return low, high


def _resample_counts(
    rng: np.random.Generator, targets: np.ndarray, probabilities: np.ndarray, resamples: int
) -> Iterator[ClassCounts]:
    """Yield blocks of counts (resamples, classes), each resample one multinomial draw of a confusion matrix.

    Cells without images are left out: they draw nothing, and for 1,000 classes there are a million of them. The last
    cell stays, as numpy gives it the rest without drawing; so the numbers are those of the whole matrix.
    """
    images, classes = probabilities.shape
    last = classes**2 - 1
    cells, numbers = np.unique(
        np.append(targets.astype(np.int64) * classes + probabilities.argmax(1), last), return_counts=True
    )
    numbers[-1] -= 1
    membership = class_membership(cells // classes, cells % classes, classes)
    for size in _block_sizes(max(len(cells), 3 * classes), resamples):
        yield counts_from_sums(membership @ rng.multinomial(images, numbers / images, size).T)


def bootstrap_mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a value per image; of differences per image, it is the paired one.

    A resample is one multinomial draw of how often each different value occurs; usually there are few.
    """
    distinct, counts = np.unique(values, return_counts=True)
    rng = np.random.default_rng(0)
    means = [
        rng.multinomial(len(values), counts / len(values), size) @ distinct for size in _block_sizes(len(distinct))
    ]
    return _percentile_interval(np.concatenate(means) / len(values))


def bootstrap_weights(fit_weights: Callable[[np.ndarray], np.ndarray], images: int, draws: int) -> np.ndarray:
    """Return weights (draws, members), each row fitted to a bootstrap resample of the images.

    `fit_weights` receives the indices of the resampled images, with repetitions.
    """
    rng = np.random.default_rng(0)
    return np.stack([fit_weights(rng.integers(images, size=images)) for _ in range(draws)])


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Return Wilson's binomial 95 % interval of an accuracy; unlike others it is good for few images and near 1 too."""
    from scipy.stats import binomtest  # imported here: it takes 0.5 s, and most programs never need it

    interval = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _interval_without_variation(computation: ClassSums, metric: str, cm: csr_array) -> tuple[float, float]:
    """Return the interval of a score if every image is correct, or every image is incorrect, from the confusion matrix.

    One end is the score itself. The other is the score after flipping as many images (correct to incorrect, or the
    reverse) as Wilson's interval of the accuracy allows, up to 3.8. The images are taken from the rarest classes, where
    one image changes a macro mean most. For the accuracy this is Wilson's interval itself.
    """
    images = int(cm.sum())
    all_correct = cm.diagonal().sum() == images
    low, high = wilson_interval(float(all_correct), images)
    if metric == "accuracy":
        return low, high
    remaining = (1 - low if all_correct else high) * images
    sizes = cm.sum(1)
    by_size = [int(row) for row in np.argsort(sizes, kind="stable") if sizes[row]]
    changed = cm.tolil()
    for position, row in enumerate(by_size):
        moved = min(remaining, sizes[row])
        if moved <= 0:
            break
        remaining -= moved
        changed[[row]] = changed[[row]] * (1 - moved / sizes[row])
        neighbour = by_size[(position + 1) % len(by_size)] if len(by_size) > 1 else (row + 1) % cm.shape[0]
        changed[row, neighbour if all_correct else row] += moved
    counts = [ClassCounts(m.sum(1), m.sum(0), m.diagonal()) for m in (cm, changed.tocsr())]
    ends = sorted(float(computation.from_counts(count)) for count in counts)
    return ends[0], ends[1]


def _block_sizes(numbers: int, resamples: int | None = None) -> list[int]:
    """Return the sizes of the blocks in which all resamples are drawn, for this many numbers per resample."""
    size, count = max(1, MAX_BLOCK_SIZE // numbers), resamples or RESAMPLES
    return [min(size, count - start) for start in range(0, count, size)]


def _percentile_interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def score_report(targets: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> ScoreReport:
    """Return all scores of one table of predictions, the three headline scores with their interval."""
    predicted = probabilities.argmax(1)
    counts = count_classes(targets, predicted, len(classes))
    per_class = {name: from_counts(counts) for name, from_counts in PER_CLASS.items()}
    has_few = len(classes) <= MAX_CONFUSION_CLASSES
    return ScoreReport(
        images=len(targets),
        **{name: score(name, targets, probabilities) for name in CLASS_REPORT},
        interval={
            name: bootstrap_interval(name, targets, probabilities) for name in ("accuracy", "macro_f1", "log_loss")
        },
        per_class={
            label: {name: float(values[index]) for name, values in per_class.items()}
            for index, label in enumerate(classes)
        },
        confusion=tuple(map(tuple, confusion(targets, probabilities).tolist())) if has_few else (),
        confused=None if has_few else _most_confused(targets, predicted, classes),
    )


def _most_confused(
    targets: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]
) -> tuple[tuple[str, str, int], ...]:
    """Return the commonest errors: true class, predicted class, number of images; in the order of classes if equal."""
    wrong = np.flatnonzero(targets != predicted)
    pairs, images = np.unique(targets[wrong].astype(np.int64) * len(classes) + predicted[wrong], return_counts=True)
    commonest = np.argsort(-images, kind="stable")[:MAX_CONFUSED]
    return tuple(
        (classes[pair // len(classes)], classes[pair % len(classes)], int(count))
        for pair, count in zip(pairs[commonest], images[commonest], strict=True)
    )


def verdict(difference: float, p: float) -> str:
    """Return `better`, `worse` or `inside the noise` for a difference that is positive where the first is better."""
    return "inside the noise" if p >= SIGNIFICANCE_LEVEL else "better" if difference > 0 else "worse"


def format_p(p: float) -> str:
    """Return a p value as text: `p 0.012`, or `p <.001`."""
    return f"p {p:.3f}" if p >= 0.001 else "p <.001"


@dataclass(frozen=True)
class Comparison:
    """The first of two candidates compared with the second.

    `difference` is positive if the first is better, also if lower scores are better (log loss).
    """

    difference: float
    interval: tuple[float, float]  # 95 %, by paired bootstrap
    p: float  # two-sided: McNemar's exact test for accuracy, else of the bootstrap

    @property
    def inside_noise(self) -> bool:
        """Return whether p is at or above the significance level."""
        return self.p >= SIGNIFICANCE_LEVEL

    @property
    def verdict(self) -> str:
        """better, worse or inside the noise."""
        return verdict(self.difference, self.p)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.difference:+z.4f} [{low:+z.4f}, {high:+z.4f}]  {format_p(self.p)}  {self.verdict}"


@dataclass(frozen=True, eq=False)
class ResampledScore:
    """A candidate's score on the images, and the one of the other two that `compare` needs."""

    metric: str
    score: float
    resampled: np.ndarray | None  # the score on each resample
    correct: np.ndarray | None  # per image, for the accuracy of classes


def compare_predictions(metric: str, targets: np.ndarray, a: np.ndarray, b: np.ndarray) -> Comparison:
    """Compare `a` with `b`, each probabilities (images, classes) of the same images in the same order."""
    return compare(*resample_scores(metric, targets, [a, b]))


def resample_scores(metric: str, targets: np.ndarray, candidates: Sequence[np.ndarray]) -> list[ResampledScore]:
    """Score every candidate on the same resamples. `compare` then takes any two of them, without resampling again."""
    computation, rng = find_metric(metric).computation(targets), np.random.default_rng(0)
    scores = [score(metric, targets, candidate) for candidate in candidates]
    if metric == "accuracy" and isinstance(computation, ClassSums):
        correct = [candidate.argmax(1) == targets for candidate in candidates]
        return [ResampledScore(metric, *values) for values in zip(scores, [None] * len(scores), correct, strict=True)]
    scorers = [computation.scorer(targets, candidate) for candidate in candidates]
    count, columns = _resample_count(computation, candidates[0]), candidates[0].shape[1]
    blocks = [
        [scorer(occurrences) for scorer in scorers] for occurrences in _resamples(rng, len(targets), columns, count)
    ]
    resampled = map(np.concatenate, zip(*blocks, strict=True))
    return [ResampledScore(metric, *values, None) for values in zip(scores, resampled, strict=True)]


def compare(a: ResampledScore, b: ResampledScore) -> Comparison:
    """Compare two candidates that were scored on the same resamples; a positive difference means that `a` is better."""
    if a.correct is not None and b.correct is not None:
        return _compare_correct(a.correct, b.correct)
    assert a.resampled is not None and b.resampled is not None
    sign = find_metric(a.metric).sign
    differences = sign * (a.resampled - b.resampled)
    return Comparison(sign * (a.score - b.score), _percentile_interval(differences), _two_sided_p_value(differences))


def _compare_correct(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Compare two boolean arrays, whether each image is predicted correctly, by McNemar's exact test.

    If both are equally good, the images that only one predicts correctly are split between them binomially, p = 0.5.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a < only_b:
        swapped = _compare_correct(b, a)
        return Comparison(-swapped.difference, (-swapped.interval[1], -swapped.interval[0]), swapped.p)
    low, high = bootstrap_mean_interval(a.astype(np.int8) - b)
    p = min(1.0, 2 * bdtr(only_b, only_a + only_b, 0.5))  # both tails are equal
    return Comparison((only_a - only_b) / len(a), (-high if only_a == only_b else low, high), float(p))


def _two_sided_p_value(differences: np.ndarray) -> float:
    """Return twice the share of resamples on the other side of zero, never 0, as resampling cannot prove p = 0."""
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(differences) + 1)))


def _resample_count(computation: Computation, predictions: np.ndarray) -> int:
    """Return the number of resamples: fewer where each takes long, so that an interval takes minutes at most."""
    if isinstance(computation, Whole):
        return FEWEST_RESAMPLES  # of a function that nothing is known about
    count = MAX_DRAWN // len(predictions)
    if isinstance(computation, Ranking):  # sorted columns are summed anew for every resample
        count = min(count, RESAMPLES * MAX_RANKED // predictions.size)
    return int(np.clip(count, FEWEST_RESAMPLES, RESAMPLES))


def _resamples(rng: np.random.Generator, images: int, columns: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield blocks of numbers (images, resamples): how often each image is in each resample."""
    for size in _block_sizes(max(images, 3 * columns), resamples):
        cells = rng.integers(images, size=(size, images)) * size + np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=size * images).reshape(images, size).astype(float)
