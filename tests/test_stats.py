"""Two candidates on the same images: which is better, by how much, and when it is only noise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from comp import stats as compare_module
from comp.metrics import METRICS, score
from comp.stats import Comparison, bootstrap_interval, compare, compare_predictions, resample_scores

CLASSES = 8
KINDS = ("accuracy", "macro_f1", "log_loss")  # McNemar, of the confusion matrix, of the probabilities


def members(signals: list[float], images: int = 800, own: float = 1.0, shared: float = 1.0, seed: int = 0):
    """Truth, and a candidate a signal: the more signal the better, the less of its own the more they agree."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(CLASSES, size=images)
    common = shared * draw.normal(size=(images, CLASSES))
    logits = [
        common + own * draw.normal(size=(images, CLASSES)) + signal * np.eye(CLASSES)[truth] for signal in signals
    ]
    return truth, [np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in logits]


def spread(comparison: Comparison) -> float:
    return comparison.interval[1] - comparison.interval[0]


def called(*classes: int) -> np.ndarray:
    return np.eye(CLASSES)[list(classes)]


@pytest.fixture
def few_resamples(monkeypatch):
    """For tests of hundreds of comparisons."""
    monkeypatch.setattr(compare_module, "RESAMPLES", 500)


@pytest.mark.parametrize("metric", METRICS)
def test_a_candidate_does_not_differ_from_its_copy(metric):
    truth, (a, _, b) = members([3, 2, 3])
    itself = compare(*(resample_scores(metric, truth, [a, b, a.copy()])[i] for i in (0, 2)))
    assert itself == Comparison(0.0, (0.0, 0.0), 1.0)
    assert itself.inside_noise and "inside the noise" in str(itself)


@pytest.mark.parametrize("metric", METRICS)
def test_turned_round_only_the_sign_changes(metric):
    truth, (a, b) = members([3, 2.5])
    there, back = compare_predictions(metric, truth, a, b), compare_predictions(metric, truth, b, a)
    assert there.difference == -back.difference and there.p == back.p
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_positive_is_the_better_one_whatever_the_direction(metric):
    truth, (good, bad) = members([4, 1])
    better = compare_predictions(metric, truth, good, bad)
    assert abs(better.difference) == pytest.approx(abs(score(metric, truth, good) - score(metric, truth, bad)))
    assert better.difference > 0 and better.interval[0] > 0 and better.verdict == "better"
    assert compare_predictions(metric, truth, bad, good).verdict == "worse"


@pytest.mark.parametrize("metric", KINDS)
def test_neither_the_order_of_candidates_nor_of_classes_matters_and_it_always_prints_the_same(metric):
    truth, tables = members([3, 2.8, 2.6])
    straight = resample_scores(metric, truth, tables)
    turned = resample_scores(metric, truth, tables[::-1])[::-1]
    other = np.random.default_rng(1).permutation(CLASSES)
    renamed = resample_scores(metric, np.argsort(other)[truth], [table[:, other] for table in tables])
    for i, j in combinations(range(3), 2):
        assert compare(straight[i], straight[j]) == compare(turned[i], turned[j])
        assert str(compare(straight[i], straight[j])) == str(compare(renamed[i], renamed[j]))
        assert str(compare(straight[i], straight[j])) == str(compare_predictions(metric, truth, tables[i], tables[j]))


@pytest.mark.parametrize("metric", KINDS)
def test_how_many_resamples_are_held_at_once_changes_nothing(metric, monkeypatch):
    truth, (a, b) = members([3, 2.5])
    at_once = compare_predictions(metric, truth, a, b)
    monkeypatch.setattr(compare_module, "MAX_BLOCK_SIZE", 7 * len(truth))
    assert str(compare_predictions(metric, truth, a, b)) == str(at_once)


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 0), (5, 0), (6, 0), (1, 8), (10, 2), (7, 7)])
def test_mcnemar_by_hand(only_a, only_b):
    both = 20
    truth = np.zeros(both + only_a + only_b, dtype=int)
    a = called(*[0] * both, *[0] * only_a, *[1] * only_b)
    b = called(*[0] * both, *[2] * only_a, *[0] * only_b)
    by_hand = binomtest(only_a, only_a + only_b).pvalue
    result = compare_predictions("accuracy", truth, a, b)
    assert result.p == pytest.approx(by_hand)
    assert result.difference == pytest.approx((only_a - only_b) / len(truth))
    assert result.inside_noise == (by_hand >= 0.05)


def test_five_against_none_is_noise_and_six_is_not():
    """2 / 2^5 = 0.0625 and 2 / 2^6 = 0.03125, however many images both have right."""
    for images in (6, 600):
        truth = np.zeros(images, dtype=int)
        five, six = (called(*[1] * wrong, *[0] * (images - wrong)) for wrong in (5, 6))
        assert compare_predictions("accuracy", truth, called(*truth), five).p == pytest.approx(0.0625)
        assert compare_predictions("accuracy", truth, called(*truth), six).p == pytest.approx(0.03125)


def test_both_wrong_in_different_ways_is_no_difference_in_accuracy():
    truth = np.zeros(30, dtype=int)
    assert compare_predictions("accuracy", truth, called(*[1] * 30), called(*[2] * 30)).p == 1


@pytest.mark.parametrize("metric", KINDS)
def test_equal_candidates_rarely_look_different(metric, few_resamples):
    """Under the null p is uniform (McNemar's is discrete, so it errs to the safe side): 5 % false alarms of 250."""
    draws = [members([2.5, 2.5], images=250, seed=seed) for seed in range(250)]
    p = np.array([compare_predictions(metric, truth, a, b).p for truth, (a, b) in draws])
    assert 0.02 * (metric != "accuracy") <= (p < 0.05).mean() <= 0.08
    assert 0.4 < (p < 0.5).mean() < 0.6 or metric == "accuracy"
    assert (p < 0.5).mean() > 0.35  # and not by never saying anything


@pytest.mark.parametrize("metric", KINDS)
def test_the_interval_holds_the_true_difference_19_times_of_20(metric, few_resamples):
    truth, (a, b) = members([3, 2.7], images=200_000, seed=1)
    true = score(metric, truth, a) - score(metric, truth, b)
    true = true if METRICS[metric].higher_is_better else -true
    draws = [members([3, 2.7], images=250, seed=seed) for seed in range(2, 202)]
    intervals = [compare_predictions(metric, truth, a, b).interval for truth, (a, b) in draws]
    assert 0.93 <= np.mean([low <= true <= high for low, high in intervals]) <= 0.98


@pytest.mark.parametrize("metric", KINDS)
def test_a_real_difference_is_seen(metric, few_resamples):
    draws = [members([3, 2.5], seed=seed) for seed in range(25)]
    assert np.mean([compare_predictions(metric, truth, a, b).verdict == "better" for truth, (a, b) in draws]) > 0.9


@pytest.mark.parametrize("metric", KINDS)
def test_the_more_two_candidates_agree_the_surer_the_difference(metric):
    """Scored apart, two intervals hide what the pairs show."""
    truth, (a, b) = members([3, 2.7], own=0.2, shared=2)
    _, (c, d) = members([3, 2.7], own=2, shared=0.2)
    (low_a, high_a), (low_b, high_b) = (bootstrap_interval(metric, truth, one) for one in (a, b))
    unpaired = np.hypot(high_a - low_a, high_b - low_b)
    assert spread(compare_predictions(metric, truth, a, b)) < 0.6 * unpaired
    assert spread(compare_predictions(metric, truth, a, b)) < spread(compare_predictions(metric, truth, c, d))


def test_one_candidate_alone_has_the_spread_of_its_printed_interval():
    truth, (a,) = members([3])
    for metric in KINDS:
        low, high = np.percentile(resample_scores(metric, truth, [a])[0].resampled, [2.5, 97.5])
        assert (low, high) == pytest.approx(bootstrap_interval(metric, truth, a), rel=0.02)
