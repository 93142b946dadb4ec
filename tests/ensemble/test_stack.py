"""A stack on few images or few classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from comp.ensemble.stack import fit_stack
from tests.ensemble.pools import accuracy, cross_fitted, three_members


@pytest.mark.parametrize(
    ("targets", "folds"),
    [
        ([0] * 10 + [1] * 10, [0] * 10 + [1] * 10),
        ([0, 1], [0, 1]),
        ([0, 1], [0, 0]),
        ([0, 0, 0, 0, 1, 1] * 2, [0, 1, 2, 0, 0, 0] * 2),
    ],
)
@pytest.mark.filterwarnings("error")
def test_fit_stack_folds_that_leave_one_class_are_not_used_to_choose_c(targets, folds):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), (2, len(targets)))
    assert np.allclose(fit_stack(probabilities, np.array(targets), np.array(folds))(probabilities).sum(1), 1)


def test_fit_stack_unseen_class_is_never_predicted():
    pool = three_members()
    seen = pool.targets < 2
    pool = replace(
        pool,
        labels=tuple(np.array(pool.labels)[seen]),
        folds=pool.folds[seen],
        images=tuple(np.array(pool.images)[seen]),
        members=tuple(replace(member, oof=member.oof[:, seen]) for member in pool.members),
    )
    rows = cross_fitted(pool, "stack")
    assert rows[:, 2:].max() < 1e-6 and accuracy(pool, rows) > 0.6


C_GRID = (1e-4, 1e-3, 1e-2, 1e-1)


def features_of(probabilities: np.ndarray) -> np.ndarray:
    return np.concatenate([np.log(np.maximum(member, np.finfo(np.float32).eps)) for member in probabilities], axis=1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_fit_stack_is_the_regression_with_the_lowest_log_loss_on_held_out_folds(classes, strength):
    rng = np.random.default_rng(classes)
    targets, folds = rng.integers(classes, size=150), rng.integers(3, size=150)
    logits = rng.normal(size=(2, 150, classes)) + strength * np.eye(classes)[targets]
    probabilities = softmax(logits, axis=-1)
    features = features_of(probabilities)

    def held_out_loss(c: float) -> float:
        losses = []
        for fold in range(3):
            held_out = folds == fold
            model = LogisticRegression(C=c).fit(features[~held_out], targets[~held_out])
            losses.append(log_loss(targets[held_out], model.predict_proba(features[held_out]), labels=range(classes)))
        return float(np.mean(losses))

    best = LogisticRegression(C=min(C_GRID, key=held_out_loss), tol=1e-8, max_iter=1000).fit(features, targets)
    blended = fit_stack(probabilities, targets, folds)(probabilities)
    assert blended == pytest.approx(best.predict_proba(features), abs=2e-3)


def test_fit_stack_without_folds_to_choose_by_has_the_strongest_penalty():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), (2, 20))
    targets = np.arange(20) // 10
    features = features_of(probabilities)
    expected = LogisticRegression(C=min(C_GRID), tol=1e-8).fit(features, targets).predict_proba(features)
    assert fit_stack(probabilities, targets, targets)(probabilities) == pytest.approx(expected, abs=1e-4)


def test_fit_stack_trusts_a_good_member_more_the_more_images_there_are():
    """The penalty is chosen, so that one grid serves few and many images."""
    rng = np.random.default_rng(0)
    confidence = []
    for images in (30, 3000):
        targets, folds = np.arange(images) % 3, rng.integers(3, size=images)
        probabilities = softmax(rng.normal(size=(1, images, 3)) + 3 * np.eye(3)[targets], axis=-1)
        confidence.append(fit_stack(probabilities, targets, folds)(probabilities).max(1).mean())
    assert confidence[0] < confidence[1]


def test_fit_stack_single_class_predicts_that_class():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), (2, 9))
    blended = fit_stack(probabilities, np.full(9, 2), np.arange(9) % 3)(probabilities)
    assert blended == pytest.approx(np.tile([0, 0, 1], (9, 1)))


def test_fit_stack_probability_of_zero_stays_finite():
    probabilities = np.eye(3, dtype=np.float32)[np.arange(30) % 3][None]
    blended = fit_stack(probabilities, np.arange(30) % 3, np.arange(30) // 10)(probabilities)
    assert np.isfinite(blended).all() and (blended.argmax(1) == np.arange(30) % 3).all()
