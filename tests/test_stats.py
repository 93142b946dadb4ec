"""Intervals have their nominal coverage, and paired tests find real differences without false alarms."""

from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from comp import stats
from comp.metrics import CLASS_REPORT, METRICS, ClassCounts, confusion, score
from comp.metrics.computation import Whole
from comp.stats import (
    Comparison,
    bootstrap_interval,
    bootstrap_mean_interval,
    bootstrap_weights,
    compare,
    compare_predictions,
    format_p,
    resample_scores,
    score_report,
    verdict,
    wilson_interval,
)
from tests.test_metrics import CLASSES as FEW_CLASSES
from tests.test_metrics import make_predictions

CLASSES = 8
KINDS = ("accuracy", "macro_f1", "log_loss")  # McNemar, of the confusion matrix, of the probabilities


def make_candidates(signals: list[float], images: int = 800, own: float = 1.0, shared: float = 1.0, seed: int = 0):
    """Return targets and the probabilities of a candidate per signal.

    A larger signal gives a better candidate; a smaller share of own noise gives candidates that agree more.
    """
    rng = np.random.default_rng(seed)
    targets = rng.integers(CLASSES, size=images)
    common = shared * rng.normal(size=(images, CLASSES))
    logits = [
        common + own * rng.normal(size=(images, CLASSES)) + signal * np.eye(CLASSES)[targets] for signal in signals
    ]
    return targets, [np.exp(values) / np.exp(values).sum(1, keepdims=True) for values in logits]


def interval_width(comparison: Comparison) -> float:
    return comparison.interval[1] - comparison.interval[0]


def predict(*classes: int) -> np.ndarray:
    return np.eye(CLASSES)[list(classes)]


@pytest.fixture
def few_resamples(monkeypatch):
    """For tests of hundreds of comparisons."""
    monkeypatch.setattr(stats, "RESAMPLES", 500)


# ------------------------------------------------------------------------------------------------ intervals


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_bootstrap_interval_holds_its_score_and_is_the_same_twice(metric):
    targets, probabilities = make_predictions(200)
    low, high = bootstrap_interval(metric, targets, probabilities)
    assert low < score(metric, targets, probabilities) < high
    assert bootstrap_interval(metric, targets, probabilities) == (low, high)


def test_bootstrap_interval_of_accuracy_is_the_normal_approximation():
    targets, probabilities = make_predictions(3000)
    accuracy = score("accuracy", targets, probabilities)
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 3000)
    low, high = bootstrap_interval("accuracy", targets, probabilities)
    assert (low, high) == pytest.approx((accuracy - half, accuracy + half), abs=half / 12)


@pytest.mark.parametrize("metric", KINDS)
def test_bootstrap_interval_shrinks_with_the_root_of_the_images(metric):
    few, many = (np.ptp(bootstrap_interval(metric, *make_predictions(images))) for images in (400, 6400))
    assert few / many == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("metric", KINDS)
def test_bootstrap_interval_covers_the_true_score_about_95_times_in_100(metric, monkeypatch):
    monkeypatch.setattr(stats, "RESAMPLES", 400)
    true_score = score(metric, *make_predictions(400_000, seed=10_000))
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(metric, *make_predictions(150, seed=seed))
        covered += low <= true_score <= high
    assert 180 <= covered <= 198


@pytest.mark.parametrize(
    ("metric", "interval"),
    [
        ("accuracy", (0.515, 0.65)),
        ("macro_f1", (0.5119775349017078, 0.6455687036728703)),
        ("log_loss", (0.9416848203265864, 1.1437022635250256)),
    ],
)
def test_bootstrap_interval_keeps_the_numbers_of_past_records(metric, interval):
    assert bootstrap_interval(metric, *make_predictions(200)) == pytest.approx(interval, rel=1e-12)


@pytest.mark.parametrize("missing", [(), (3,), (0,)])
def test_bootstrap_interval_resamples_are_those_of_the_whole_confusion_matrix(missing):
    """Cells without images are not drawn; the last cell is a special case of the multinomial."""
    targets, probabilities = make_predictions(
        150, classes=set(range(FEW_CLASSES)) - set(missing), never_predicted=missing
    )
    cm = confusion(targets, probabilities)
    draws = np.random.default_rng(0).multinomial(150, cm.ravel() / 150, size=stats.RESAMPLES)
    from_counts = METRICS["macro_f1"].computations["classes"].from_counts
    scores = from_counts(ClassCounts.from_confusion(draws.reshape(-1, FEW_CLASSES, FEW_CLASSES)))
    expected = np.percentile(scores, [2.5, 97.5])
    assert bootstrap_interval("macro_f1", targets, probabilities) == tuple(expected)


@pytest.mark.parametrize("metric", KINDS)
def test_intervals_of_1000_classes_take_little_memory(metric):
    """Every pair of classes would be a million numbers per resample: 15 GiB."""
    rng = np.random.default_rng(0)
    targets = rng.integers(1000, size=2000)
    probabilities = rng.random((2000, 1000), dtype=np.float32)
    probabilities[np.arange(2000), targets] += 0.99
    tracemalloc.start()
    low, high = bootstrap_interval(metric, targets, probabilities)
    copy = compare_predictions(metric, targets, probabilities, probabilities)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory < 400e6
    assert low < high and copy.interval == (0, 0)


def test_bootstrap_interval_block_size_has_no_effect(monkeypatch):
    predictions, values = make_predictions(200), np.random.default_rng(0).normal(size=50)
    at_once = bootstrap_interval("macro_f1", *predictions), bootstrap_mean_interval(values)
    monkeypatch.setattr(stats, "MAX_BLOCK_SIZE", 700)
    in_blocks = bootstrap_interval("macro_f1", *predictions), bootstrap_mean_interval(values)
    assert in_blocks == (at_once[0], pytest.approx(at_once[1], rel=1e-12))
    monkeypatch.setattr(stats, "MAX_BLOCK_SIZE", 1)
    assert bootstrap_interval("macro_f1", *predictions) == at_once[0]


def test_bootstrap_interval_constant_predictions_do_not_vary_in_balanced_accuracy():
    """One class is always correct and the others never, in every resample: this is no perfect prediction."""
    targets, constant = np.arange(200) % 2, np.eye(2)[np.zeros(200, int)]
    assert bootstrap_interval("balanced_accuracy", targets, constant) == (0.5, 0.5)
    assert bootstrap_interval("balanced_accuracy", 1 - targets, constant) == (0.5, 0.5)
    rare = (np.arange(200) < 20).astype(int)  # the first images that are moved elsewhere are of the rarer class
    assert bootstrap_interval("balanced_accuracy", rare, constant) == (0.5, 0.5)
    low, high = bootstrap_interval("accuracy", targets, constant)
    assert 0.42 < low < 0.45 and 0.55 < high < 0.58


@pytest.mark.parametrize("metric", [name for name in CLASS_REPORT if name != "log_loss"])
def test_bootstrap_interval_every_image_correct_classes_that_never_occur_have_no_effect(metric):
    """An image that might be incorrect is counted as one of the other classes that occur."""
    targets = np.repeat([0, 2, 4], [30, 20, 10])
    interval = bootstrap_interval(metric, targets, np.eye(6)[targets])
    assert interval == pytest.approx(bootstrap_interval(metric, targets // 2, np.eye(3)[targets // 2]))


@pytest.mark.parametrize("metric", CLASS_REPORT)
@pytest.mark.parametrize("images", [1, 7, 400])
def test_bootstrap_interval_every_image_correct_or_none_still_has_a_width(metric, images):
    """Resamples of perfect predictions are perfect too, yet they do not prove that no image of 400 is incorrect."""
    targets = np.random.default_rng(0).choice(FEW_CLASSES, images, p=[0.7, 0.2, 0.09, 0.01])
    for shift in (0, 1):
        probabilities = np.eye(FEW_CLASSES, dtype=np.float32)[(targets + shift) % FEW_CLASSES]
        value, (low, high) = score(metric, targets, probabilities), bootstrap_interval(metric, targets, probabilities)
        if metric == "log_loss":  # for probabilities 0 and 1 it is not derived from a number of images
            assert low == high == pytest.approx(value)
        else:
            assert 0 <= low <= value <= high <= 1
            assert low < high or len(np.unique(targets)) == 1  # of one class, nothing lowers a weighted precision


@pytest.mark.parametrize("images", [1, 40, 3200])
def test_bootstrap_interval_every_image_correct_is_wilsons(images):
    targets = np.arange(images) % FEW_CLASSES
    for shift in (0, 1):
        probabilities = np.eye(FEW_CLASSES, dtype=np.float32)[(targets + shift) % FEW_CLASSES]
        wilson = binomtest(images * (shift == 0), images).proportion_ci(method="wilson")
        interval = bootstrap_interval("accuracy", targets, probabilities)
        assert interval == pytest.approx((wilson.low, wilson.high))
        if images > 1:  # of classes of one size a mean over classes is the accuracy
            assert bootstrap_interval("macro_recall", targets, probabilities) == pytest.approx(interval)
    low, high = wilson_interval(1.0, 3200)
    assert high == 1 and 1 - low == pytest.approx(3.84 / 3200, rel=0.01)  # the rule of three: 3 / 3200


@pytest.mark.parametrize("classes", [2, 4])
def test_bootstrap_interval_every_image_correct_and_of_one_class_may_be_of_another(classes):
    targets = np.zeros(40, int)
    low, high = bootstrap_interval("balanced_accuracy", targets, np.eye(classes)[targets])
    assert (low, high) == pytest.approx(wilson_interval(1.0, 40)) and low < high == 1


def test_bootstrap_interval_perfect_macro_score_is_wider_with_a_rare_class():
    even, uneven = np.arange(400) % FEW_CLASSES, np.repeat(np.arange(FEW_CLASSES), [196, 100, 100, 4])
    (low, _), (lower, _) = (
        bootstrap_interval("macro_recall", targets, np.eye(FEW_CLASSES, dtype=np.float32)[targets])
        for targets in (even, uneven)
    )
    assert lower < 0.8 < 0.99 < low


def test_bootstrap_interval_perfect_f1_moves_the_rarest_images_to_the_next_class():
    sizes = [20, 2, 10, 5]
    targets = np.repeat(np.arange(FEW_CLASSES), sizes)
    moved = sum(sizes) * (1 - wilson_interval(1.0, sum(sizes))[0])
    assert 2 < moved < 7  # both images of class 1 to class 3, and the rest of class 3 to class 2
    low, high = bootstrap_interval("macro_f1", targets, np.eye(FEW_CLASSES, dtype=np.float32)[targets])
    of_3, into_2 = 5 - (moved - 2), moved - 2
    expected = [1, 0, 2 * 10 / (2 * 10 + into_2), 2 * of_3 / (2 * of_3 + 2 + into_2)]
    assert high == 1 and low == pytest.approx(np.mean(expected))


def test_bootstrap_mean_interval_is_that_of_resampled_values():
    values = np.random.default_rng(1).choice([-1.0, 0.0, 0.5, 1.0], 300)
    draws = np.random.default_rng(2).choice(values, (20_000, 300)).mean(1)
    assert bootstrap_mean_interval(values) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.01)


def test_bootstrap_mean_interval_keeps_the_numbers_of_past_records():
    assert bootstrap_mean_interval(np.repeat([0, 0.5, 1], [3, 10, 37])) == (0.76, 0.92)
    interval = bootstrap_mean_interval(np.random.default_rng(0).random(30))
    assert interval == pytest.approx((0.4222109247776072, 0.6435170481136665), rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "images", "columns", "resamples"),
    [
        ("accuracy", 20_000, 8, 2000),
        ("accuracy", 100_000, 8, 400),
        ("accuracy", 10**6, 8, 200),
        ("auc", 10_000, 200, 2000),
        ("auc", 10_000, 800, 500),
        ("auc", 100_000, 20, 400),
        ("an own function", 10, 8, 200),
    ],
)
def test_resample_count_falls_with_the_time_of_a_resample(metric, images, columns, resamples):
    known = metric in METRICS
    computation = METRICS[metric].computation(np.array([0, 1])) if known else Whole(lambda targets, predictions: 0.0)
    assert stats._resample_count(computation, np.broadcast_to(0.0, (images, columns))) == resamples


def test_bootstrap_weights_vary_as_much_as_what_fits_them():
    constant = bootstrap_weights(lambda rows: np.array([0.7, 0.3, 0.0]), images=50, draws=20)
    assert constant.shape == (20, 3) and (constant == constant[0]).all()
    share = bootstrap_weights(lambda rows: np.array([(rows < 25).mean(), (rows >= 25).mean()]), images=50, draws=200)
    assert share.mean(0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert share.std(0) == pytest.approx(np.sqrt(0.25 / 50), rel=0.2)  # the standard deviation of a share of 50 draws


def test_bootstrap_weights_more_draws_begin_with_the_same():
    def first_rows(rows: np.ndarray) -> np.ndarray:
        assert len(rows) == 30 and rows.min() >= 0 and rows.max() < 30 and len(set(rows)) < 30
        return rows[:2].astype(float)

    assert np.array_equal(bootstrap_weights(first_rows, 30, draws=5), bootstrap_weights(first_rows, 30, draws=9)[:5])


def test_score_report_numbers_agree_with_each_other():
    targets, probabilities = make_predictions(120)
    report = score_report(targets, probabilities, tuple("abcd"))
    assert report.images == np.sum(report.confusion) == 120
    assert report.accuracy == np.trace(report.confusion) / 120
    assert report.macro_recall == pytest.approx(np.mean([report.per_class[label]["recall"] for label in "abcd"]))
    low, high = report.interval["macro_f1"]
    assert low < report.macro_f1 < high


@pytest.mark.parametrize("count", [100, 101])
def test_score_report_of_many_classes_lists_the_commonest_errors(count):
    """Class k is taken for class k + 1: of class 7 in three images, of classes 3 and 50 in two, of others in one."""
    classes = tuple(f"c{index}" for index in range(count))
    targets = np.repeat(np.arange(count), [{3: 2, 7: 3, 50: 2}.get(index, 1) for index in range(count)])
    report = score_report(targets, np.eye(count)[(targets + 1) % count], classes)
    if count == 100:
        assert report.confused is None and report.confusion[7][8] == 3 and len(report.confusion) == 100
    else:
        assert report.confusion == () and len(report.confused) == 24
        assert report.confused[:4] == (("c7", "c8", 3), ("c3", "c4", 2), ("c50", "c51", 2), ("c0", "c1", 1))


# ------------------------------------------------------------------------------------------------ paired tests


def test_format_p_below_a_thousandth_is_said_so():
    assert [format_p(p) for p in (0.0123, 0.001, 0.00099)] == ["p 0.012", "p 0.001", "p <.001"]


def test_verdict_at_the_significance_level_is_inside_the_noise():
    assert [verdict(0.1, p) for p in (0.05, 0.049)] == ["inside the noise", "better"]
    assert [verdict(-0.1, p) for p in (0.05, 0.049)] == ["inside the noise", "worse"]


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_compare_copy_does_not_differ(metric):
    targets, (a, _, b) = make_candidates([3, 2, 3])
    scores = resample_scores(metric, targets, [a, b, a.copy()])
    comparison = compare(scores[0], scores[2])
    assert comparison == Comparison(0.0, (0.0, 0.0), 1.0)
    assert comparison.inside_noise and "inside the noise" in str(comparison)


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_compare_predictions_swapped_candidates_only_turn_the_sign(metric):
    targets, (a, b) = make_candidates([3, 2.5])
    forward, backward = compare_predictions(metric, targets, a, b), compare_predictions(metric, targets, b, a)
    assert forward.difference == -backward.difference and forward.p == backward.p
    assert forward.interval == pytest.approx((-backward.interval[1], -backward.interval[0]), abs=1e-12)


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_compare_predictions_positive_is_better_whatever_the_direction(metric):
    targets, (good, bad) = make_candidates([4, 1])
    comparison = compare_predictions(metric, targets, good, bad)
    assert abs(comparison.difference) == pytest.approx(abs(score(metric, targets, good) - score(metric, targets, bad)))
    assert comparison.difference > 0 and comparison.interval[0] > 0 and comparison.verdict == "better"
    assert compare_predictions(metric, targets, bad, good).verdict == "worse"


@pytest.mark.parametrize("metric", KINDS)
def test_compare_order_of_candidates_and_classes_has_no_effect(metric):
    targets, tables = make_candidates([3, 2.8, 2.6])
    ordered = resample_scores(metric, targets, tables)
    reversed_order = resample_scores(metric, targets, tables[::-1])[::-1]
    order = np.random.default_rng(1).permutation(CLASSES)
    reordered = resample_scores(metric, np.argsort(order)[targets], [table[:, order] for table in tables])
    for i, j in combinations(range(3), 2):
        comparison = compare(ordered[i], ordered[j])
        assert comparison == compare(reversed_order[i], reversed_order[j])
        assert str(comparison) == str(compare(reordered[i], reordered[j]))
        assert str(comparison) == str(compare_predictions(metric, targets, tables[i], tables[j]))


@pytest.mark.parametrize("metric", KINDS)
def test_compare_predictions_block_size_has_no_effect(metric, monkeypatch):
    targets, (a, b) = make_candidates([3, 2.5])
    at_once = compare_predictions(metric, targets, a, b)
    monkeypatch.setattr(stats, "MAX_BLOCK_SIZE", 7 * len(targets))
    assert str(compare_predictions(metric, targets, a, b)) == str(at_once)


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 0), (5, 0), (6, 0), (1, 8), (10, 2), (7, 7)])
def test_compare_predictions_accuracy_is_mcnemars_exact_test(only_a, only_b):
    both = 20
    targets = np.zeros(both + only_a + only_b, dtype=int)
    a = predict(*[0] * both, *[0] * only_a, *[1] * only_b)
    b = predict(*[0] * both, *[2] * only_a, *[0] * only_b)
    p = binomtest(only_a, only_a + only_b).pvalue
    comparison = compare_predictions("accuracy", targets, a, b)
    assert comparison.p == pytest.approx(p)
    assert comparison.difference == pytest.approx((only_a - only_b) / len(targets))
    assert comparison.inside_noise == (p >= 0.05)


def test_compare_predictions_five_to_none_is_noise_and_six_is_not():
    """2 / 2^5 = 0.0625 and 2 / 2^6 = 0.03125, however many images both have correct."""
    for images in (6, 600):
        targets = np.zeros(images, dtype=int)
        five, six = (predict(*[1] * errors, *[0] * (images - errors)) for errors in (5, 6))
        assert compare_predictions("accuracy", targets, predict(*targets), five).p == pytest.approx(0.0625)
        assert compare_predictions("accuracy", targets, predict(*targets), six).p == pytest.approx(0.03125)


def test_compare_predictions_different_errors_on_the_same_images_are_no_difference_in_accuracy():
    targets = np.zeros(30, dtype=int)
    assert compare_predictions("accuracy", targets, predict(*[1] * 30), predict(*[2] * 30)).p == 1


@pytest.mark.parametrize("metric", KINDS)
def test_compare_predictions_equal_candidates_rarely_differ(metric, few_resamples):
    """Under the null p is uniform (McNemar's is discrete, so it errs to the safe side): 5 % false alarms of 250."""
    draws = [make_candidates([2.5, 2.5], images=250, seed=seed) for seed in range(250)]
    p = np.array([compare_predictions(metric, targets, a, b).p for targets, (a, b) in draws])
    assert 0.02 * (metric != "accuracy") <= (p < 0.05).mean() <= 0.08
    assert 0.4 < (p < 0.5).mean() < 0.6 or metric == "accuracy"
    assert (p < 0.5).mean() > 0.35  # it does find differences


@pytest.mark.parametrize("metric", KINDS)
def test_compare_predictions_interval_holds_the_true_difference_19_times_of_20(metric, few_resamples):
    targets, (a, b) = make_candidates([3, 2.7], images=200_000, seed=1)
    true_difference = METRICS[metric].sign * (score(metric, targets, a) - score(metric, targets, b))
    draws = [make_candidates([3, 2.7], images=250, seed=seed) for seed in range(2, 202)]
    intervals = [compare_predictions(metric, targets, a, b).interval for targets, (a, b) in draws]
    assert 0.93 <= np.mean([low <= true_difference <= high for low, high in intervals]) <= 0.98


@pytest.mark.parametrize("metric", KINDS)
def test_compare_predictions_real_difference_is_found(metric, few_resamples):
    draws = [make_candidates([3, 2.5], seed=seed) for seed in range(25)]
    verdicts = [compare_predictions(metric, targets, a, b).verdict for targets, (a, b) in draws]
    assert np.mean([verdict == "better" for verdict in verdicts]) > 0.9


@pytest.mark.parametrize("metric", KINDS)
def test_compare_predictions_interval_is_narrower_the_more_candidates_agree(metric):
    """Separate intervals of two candidates may overlap although the paired difference is significant."""
    targets, (a, b) = make_candidates([3, 2.7], own=0.2, shared=2)
    _, (c, d) = make_candidates([3, 2.7], own=2, shared=0.2)
    (low_a, high_a), (low_b, high_b) = (bootstrap_interval(metric, targets, candidate) for candidate in (a, b))
    unpaired = np.hypot(high_a - low_a, high_b - low_b)
    agreeing = interval_width(compare_predictions(metric, targets, a, b))
    assert agreeing < 0.6 * unpaired
    assert agreeing < interval_width(compare_predictions(metric, targets, c, d))


def test_resample_scores_spread_is_that_of_the_printed_interval():
    targets, (a,) = make_candidates([3])
    for metric in set(KINDS) - {"accuracy"}:  # whose interval needs no resampled scores
        low, high = np.percentile(resample_scores(metric, targets, [a])[0].resampled, [2.5, 97.5])
        assert (low, high) == pytest.approx(bootstrap_interval(metric, targets, a), rel=0.02)
