"""Cross-fitted predictions never use the labels of the images that they are scored on."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from comp.ensemble import crossfit
from comp.ensemble.blend import METHODS
from comp.ensemble.crossfit import (
    MemberFitOptions,
    _spread,
    fit_each_fold,
    fit_members,
    fit_on_rows,
    predict_cross_fitted,
    predict_cross_fitted_twice,
    predict_in_sample,
    predict_without_each,
)
from comp.ensemble.pool import MemberPredictions, Pool
from comp.metrics import score
from comp.records.task import TaskSpec
from comp.tasks import make_task
from tests.ensemble.pools import CLASSES, IMAGES, accuracy, cross_fitted, make_pool, make_probabilities, three_members


@pytest.mark.parametrize("method", METHODS)
def test_cross_fitted_score_of_noise_is_chance_and_naive_is_higher(method):
    """Over six pools of eight members: 1,440 predictions, chance 0.25, whose standard error is 0.0114."""
    scores, naive_scores = [], []
    for seed in range(6):
        pool = make_pool(**{f"m{member}": make_probabilities(1000 * seed + member, 0.0) for member in range(8)})
        scores.append(accuracy(pool, cross_fitted(pool, method)))
        fitted = fit_members(pool, np.arange(IMAGES), MemberFitOptions())
        naive_scores.append(accuracy(pool, predict_in_sample(method, fitted, pool)))
    assert abs(np.mean(scores) - 0.25) < 0.04
    if method in ("greedy", "stack"):
        assert np.mean(naive_scores) > np.mean(scores) + 0.04


@pytest.mark.parametrize("method", METHODS)
def test_predict_cross_fitted_labels_of_a_fold_do_not_change_its_predictions(method):
    options = MemberFitOptions(max_views=2)
    pool = make_pool(anna=make_probabilities(1, 1.5, views=3), bert=make_probabilities(2, 1.0, views=3))
    for fold in (0, 3):
        held_out = pool.folds == fold
        wrong_targets = np.where(held_out, (pool.targets + 1) % 4, pool.targets)
        before = cross_fitted(pool, method, options)
        after = cross_fitted(replace(pool, labels=tuple(CLASSES[index] for index in wrong_targets)), method, options)
        assert np.array_equal(before[held_out], after[held_out])
    assert not np.array_equal(before, after) or method == "vote"  # the other folds were fitted to them


def test_predict_without_each_member_equals_a_fit_of_the_others():
    pool, options = three_members(), MemberFitOptions()
    for method in ("mean", "greedy"):
        fold_fits = fit_each_fold(pool, options)
        without = predict_without_each(["anna", "carl"], method, fold_fits, pool)
        others = [fold_fit.subset(["bert", "carl"]) for fold_fit in fold_fits]
        assert list(without) == ["anna", "carl"]
        assert np.array_equal(without["anna"], predict_cross_fitted(method, others, pool))


def test_cross_fit_keeps_no_predictions_of_members():
    """Predictions of 20 members for all images, kept by each of 4 folds, would be 4 times those of the pool."""
    members = {f"m{number:02}": make_probabilities(number, 1.0, images=4000) for number in range(20)}
    pool = make_pool(images=4000, **members)
    pool_bytes = sum(member.oof.nbytes for member in pool.members)
    tracemalloc.start()
    try:
        cross_fitted(pool, "mean")
        assert tracemalloc.get_traced_memory()[1] < 1.5 * pool_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("rows", "count", "spread"), [(5, 9, 5), (10, 5, 5), (10, 4, 4), (10, 0, 1), (0, 5, 0)])
def test_temperature_of_a_large_table_is_fitted_to_rows_that_are_spread(rows, count, spread):
    chosen = _spread(np.arange(rows), count)
    assert len(chosen) == spread and (len(chosen) < 2 or len(set(np.diff(chosen))) == 1)


def test_fit_each_fold_single_fold_holds_out_fifths():
    pool = replace(three_members(), folds=np.zeros(IMAGES, int))
    held_out = [fold_fit.held_out_rows for fold_fit in fit_each_fold(pool, MemberFitOptions())]
    assert sorted(np.concatenate(held_out)) == list(range(IMAGES))
    assert [len(rows) for rows in held_out] == [48] * 5
    assert 0.5 < accuracy(pool, cross_fitted(pool, "stack")) < 1


def test_fit_each_fold_single_fold_holds_out_images_from_everywhere():
    """Ids often begin with the class: consecutive images would be of one class."""
    fold_fits = fit_each_fold(replace(three_members(), folds=np.zeros(IMAGES, int)), MemberFitOptions())
    for fold_fit in fold_fits:
        assert np.ptp(fold_fit.held_out_rows) > IMAGES / 2 and len(set(np.diff(fold_fit.held_out_rows))) > 2
        together = [*fold_fit.held_out_rows, *fold_fit.fitted.rows]
        assert sorted(together) == list(range(IMAGES)) and fold_fit.fitted.pool.folds.any() == 0


@pytest.mark.parametrize("images", [3, 5, 7])
def test_fit_each_fold_single_fold_of_few_images_has_as_many_parts_as_it_can(images):
    pool = make_pool(images=images, anna=make_probabilities(1, 1.0, images=images))
    fold_fits = fit_each_fold(replace(pool, folds=np.full(images, 2)), MemberFitOptions())
    assert len(fold_fits) == min(5, images)


def test_fit_members_temperature_is_fitted_to_no_more_values_than_the_memory_has(monkeypatch):
    shapes = []

    def fit_temperature(probabilities: np.ndarray, targets: np.ndarray) -> float:
        shapes.append((*probabilities.shape, *targets.shape))
        return 2.0

    monkeypatch.setattr(crossfit, "fit_temperature", fit_temperature)
    pool, rows = make_pool(anna=make_probabilities(1, 1.0, views=3)), np.arange(0, IMAGES, 2)
    for limit, images in ((3 * 4 * 120, 120), (3 * 4 * 60, 60), (3 * 4 * 61, 60), (3 * 4 * 59, 40)):
        monkeypatch.setattr(crossfit, "MAX_FITTED_VALUES", limit)
        [member] = fit_members(pool, rows, MemberFitOptions()).members
        assert shapes.pop() == (3, images, 4, images) and member.temperature == 2.0
    [member] = fit_members(pool, rows, MemberFitOptions(calibrate=False)).members
    assert shapes == [] and member.temperature == 1.0


@pytest.fixture
def tumours() -> Pool:
    """Two members that hardly ever predict yes, for a metric whose threshold is fitted."""
    rng = np.random.default_rng(0)
    targets = (rng.random(IMAGES) < 0.4).astype(int)
    task = make_task(TaskSpec("binary", ("no", "yes")))
    members = []
    for name in ("anna", "bert"):
        yes = np.clip(0.15 + 0.2 * targets + rng.normal(0, 0.08, IMAGES), 0.01, 0.99)
        members.append(MemberPredictions(name, ("identity",), np.stack([1 - yes, yes], 1)[None].astype(np.float32)))
    labels = tuple("yes" if target else "no" for target in targets)
    return Pool(task, "macro_f1", tuple(map(str, range(IMAGES))), labels, np.arange(IMAGES) % 4, tuple(members))


@pytest.mark.parametrize("method", ["mean", "greedy"])
def test_predict_cross_fitted_decides_each_fold_by_the_other_folds(tumours, method):
    options = MemberFitOptions(calibrate=False)
    fold_fits = fit_each_fold(tumours, options)
    undecided, decided = predict_cross_fitted_twice(method, fold_fits, tumours)
    assert score("macro_f1", tumours.targets, undecided) < 0.5 < 0.8 < score("macro_f1", tumours.targets, decided)
    for fold_fit in fold_fits:
        rows, decision = fold_fit.held_out_rows, fit_on_rows(method, fold_fit.fitted, tumours).decision
        assert 0.2 < decision[0] < 0.35
        assert np.array_equal(decided[rows], tumours.task.decide(undecided[rows], decision))
    without = predict_without_each(["anna"], method, fold_fits, tumours)["anna"]
    others = [fold_fit.subset(["bert"]) for fold_fit in fold_fits]
    assert np.array_equal(without, predict_cross_fitted(method, others, tumours))
    in_sample = predict_in_sample(method, fit_members(tumours, np.arange(IMAGES), options), tumours)
    assert score("macro_f1", tumours.targets, in_sample) > 0.8


@pytest.mark.parametrize("folds", [2, 3])
def test_fit_each_fold_holds_out_each_fold_in_turn(folds):
    pool = replace(three_members(), folds=np.arange(IMAGES) % folds + 1)
    fold_fits = fit_each_fold(pool, MemberFitOptions())
    assert [set(pool.folds[fold_fit.held_out_rows]) for fold_fit in fold_fits] == [{n + 1} for n in range(folds)]
    assert all(len(fold_fit.held_out_rows) == IMAGES / folds for fold_fit in fold_fits)
