from __future__ import annotations

import numpy as np
import pytest

from comp.ensemble.calibrate import Confidence
from comp.report.class_scores import commonest_confusions, score_classes
from comp.report.conformal import conformal_quantile, prediction_intervals, prediction_sets
from comp.report.sections.calibration import send_least_certain
from comp.stats import wilson_interval
from comp.study.plots import pareto_front


def test_conformal_quantile_is_the_rank_of_the_next_score():
    scores = np.arange(1, 20) / 20  # 19 scores: the 95 % quantile is the 19th of 20
    assert conformal_quantile(scores, 0.95) == 0.95 and conformal_quantile(scores, 0.5) == 0.5
    assert conformal_quantile(scores[:5], 0.95) == np.inf  # too few to promise 95 %


def draw(images: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, calibrated probabilities of four classes, and folds."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.5), images)
    targets = np.array([rng.choice(4, p=row) for row in probabilities])
    return targets, probabilities, np.arange(images) % 5


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_prediction_sets_hold_the_label_as_often_as_the_level_says(level):
    sets = prediction_sets(*draw(4000, 0), level)
    assert sets is not None and abs(sets.coverage - level) < 0.015 and 1 < sets.sizes.mean() < 4


def test_prediction_sets_of_a_fold_do_not_depend_on_its_labels():
    targets, probabilities, folds = draw(200, 1)
    sets = prediction_sets(targets, probabilities, folds, 0.9)
    changed = np.where(folds == 0, (targets + 1) % 4, targets)
    other = prediction_sets(changed, probabilities, folds, 0.9)
    assert sets is not None and other is not None
    assert (sets.members[folds == 0] == other.members[folds == 0]).all()
    assert not (sets.members == other.members).all()


def test_prediction_sets_are_never_empty_and_need_two_folds():
    targets, probabilities, folds = draw(100, 2)
    sets = prediction_sets(targets, probabilities, folds, 0.1)
    assert sets is not None and sets.sizes.min() == 1
    assert prediction_sets(targets, probabilities, np.zeros(100, int), 0.9) is None


def test_prediction_intervals_hold_the_number_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    targets, folds = rng.normal(size=3000), np.arange(3000) % 3
    intervals = prediction_intervals(targets, np.zeros(3000), folds, 0.95)
    assert intervals is not None and intervals.half_width == pytest.approx(1.96, abs=0.1)
    assert abs(intervals.coverage - 0.95) < 0.01


def test_send_least_certain_removes_the_errors_among_them():
    confidence = Confidence(np.array([0.5, 0.9, 0.6, 0.99, 0.8]), np.array([False, True, True, False, True]))
    sent = send_least_certain(confidence, 0.4)
    assert (sent.images, sent.errors, sent.accuracy) == (2, 1, pytest.approx(2 / 3))


def test_score_classes_interval_of_recall_is_wilsons_and_of_f1_holds_it():
    targets, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    first, second = score_classes(targets, predicted, ("a", "b"))
    assert first.recall == 0.75 and first.intervals["recall"] == wilson_interval(0.75, 4)
    low, high = first.intervals["f1"] or (1.0, 0.0)
    assert first.f1 == pytest.approx(0.75)
    assert low < first.f1 < high and second.images == 2


def test_score_classes_without_images_has_no_interval():
    absent = score_classes(np.array([0, 0]), np.array([0, 0]), ("a", "b"))[1]
    assert absent.intervals["recall"] is None and absent.intervals["f1"] is None


def test_commonest_confusions_are_sorted_and_limited():
    targets, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 0, 2, 1])
    first, second = commonest_confusions(targets, predicted, 3, limit=2)
    assert (first.label, first.predicted, first.images) == (0, 1, 2) and first.share == pytest.approx(2 / 3)
    assert second.images == 1


def test_pareto_front_keeps_what_no_other_beats():
    points = [(1.0, 0.9), (2.0, 0.8), (3.0, 0.95), (0.5, 0.5), (3.0, 0.94)]
    assert pareto_front(points, higher_is_better=True) == [(0.5, 0.5), (1.0, 0.9), (3.0, 0.95)]
    assert pareto_front(points, higher_is_better=False) == [(0.5, 0.5)]
