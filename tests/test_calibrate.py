"""A member is as sure as it may be, and how far it is from that is measured."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from comp.ensemble.calibrate import apply_temperature, expected_calibration_error, fit_temperature, reliability_curve
from comp.metrics import score

CLASSES = 8


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def honest(images: int = 3200, sure: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and a truth drawn from what they say: calibrated by construction."""
    draw = np.random.default_rng(seed)
    logits = sure * draw.normal(size=(images, CLASSES))
    return logits, (softmax(logits).cumsum(1) > draw.random((images, 1))).argmax(1)


def views(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy views of the same images by an overconfident member."""
    logits, truth = honest(seed=seed)
    noise = np.random.default_rng(seed + 1).normal(size=(count, *logits.shape))
    return softmax(2 * (logits + noise)), truth


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 3, 20])
def test_tempered_is_what_divided_logits_would_have_given(temperature, dtype):
    logits = honest(100)[0].astype(dtype)
    after = apply_temperature(softmax(logits), temperature)
    assert after.dtype == dtype
    assert np.allclose(after, softmax(logits / temperature), rtol=1e-3, atol=1e-7)


def test_a_temperature_of_one_changes_no_bit():
    probabilities = softmax(honest(100)[0]).astype(np.float32)
    probabilities[0] = np.eye(CLASSES)[0]
    assert np.array_equal(apply_temperature(probabilities, 1.0), probabilities)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 0.999, 1.001, 4, 20])
def test_zeros_of_float32_are_survived(temperature):
    probabilities = np.eye(CLASSES, dtype=np.float32)[[0, 3, 7]]
    probabilities[1, 2] = 1e-45
    with np.errstate(all="raise", under="ignore"):
        after = apply_temperature(probabilities, temperature)
    assert np.isfinite(after).all() and np.allclose(after.sum(1), 1) and (after.argmax(1) == [0, 3, 7]).all()
    assert fit_temperature(probabilities[None], np.array([1, 1, 1])) > 1


def test_a_thousand_equal_classes_stay_equal_in_the_cold():
    """1e-3 to the power of 20 is no float32."""
    flat = np.full((2, 1000), 1e-3, dtype=np.float32)
    assert np.allclose(apply_temperature(flat, 0.05), flat)


@pytest.mark.parametrize("temperature", [0.2, 0.9, 3])
def test_one_view_keeps_its_accuracy(temperature):
    (view,), truth = views(1)
    assert score("accuracy", truth, apply_temperature(view, temperature)) == score("accuracy", truth, view)


@pytest.mark.parametrize("shape", [(5, CLASSES), (2, 5, CLASSES), (3, 2, 5, CLASSES)])
def test_views_and_members_are_tempered_one_by_one(shape):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(CLASSES), shape[:-1])
    flat = np.stack([apply_temperature(row, 2.5) for row in probabilities.reshape(-1, CLASSES)])
    assert np.array_equal(apply_temperature(probabilities, 2.5), flat.reshape(shape))


@pytest.mark.parametrize("factor", [0.2, 0.5, 1, 2, 5])
def test_logits_multiplied_by_a_factor_give_it_back(factor):
    """To the noise of 3,200 images: a calibrated member gets about 1."""
    logits, truth = honest()
    assert fit_temperature(softmax(factor * logits)[None], truth) == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("count", [1, 4])
def test_no_other_temperature_has_less_log_loss(count):
    said, truth = views(count)
    temperature = fit_temperature(said, truth)

    def loss(at: float) -> float:
        return score("log_loss", truth, apply_temperature(said, at).mean(0))

    assert loss(temperature) < loss(1)
    assert all(loss(temperature) < loss(temperature * by) for by in (0.8, 0.95, 1.05, 1.2))


def test_the_mean_of_views_is_fitted_and_not_each_view():
    """Where views disagree their mean is unsure already: each may be surer than it should be alone."""
    said, truth = views(8)
    alone = [fit_temperature(view[None], truth) for view in said]
    assert fit_temperature(said, truth) < min(alone)


def test_copies_of_a_view_and_the_order_of_everything_change_nothing():
    said, truth = views(3)
    draw = np.random.default_rng(5)
    rows, classes = draw.permutation(len(truth)), draw.permutation(CLASSES)
    temperature = fit_temperature(said, truth)
    assert fit_temperature(np.concatenate([said, said]), truth) == pytest.approx(temperature, rel=1e-3)
    assert fit_temperature(said[::-1][:, rows][..., classes], np.argsort(classes)[truth[rows]]) == pytest.approx(
        temperature, rel=1e-3
    )


@pytest.mark.parametrize("constant", [np.full(CLASSES, 1 / CLASSES), np.eye(CLASSES)[0]])
def test_where_nothing_can_be_learnt_the_temperature_stays_one(constant):
    assert fit_temperature(np.tile(constant, (1, 50, 1)), np.zeros(50, dtype=int)) == pytest.approx(1, abs=2e-3)


def test_never_wrong_on_few_images_does_not_mean_certain_for_ever():
    draw = np.random.default_rng(0)
    truth = draw.integers(CLASSES, size=64)
    said = softmax(5 * np.eye(CLASSES)[truth] + draw.normal(size=(64, CLASSES)))
    assert (said.argmax(1) == truth).all() and 0.2 < fit_temperature(said[None], truth) < 1


@pytest.mark.parametrize(("confidence", "right", "by_hand"), [(0.9, 7, 0.2), (0.6, 6, 0), (0.5, 9, 0.4)])
def test_the_error_of_constant_confidence_by_hand(confidence, right, by_hand):
    """Always as sure, right `right` times of ten: one bin, whatever the order of images."""
    truth = np.tile(np.arange(10) >= right, 30).astype(int)
    said = np.tile([confidence, *[(1 - confidence) / 7] * 7], (300, 1))
    for order in (np.arange(300), np.argsort(truth)):
        assert expected_calibration_error(truth[order], said[order]) == pytest.approx(by_hand)


def test_the_error_of_two_bins_by_hand():
    said = np.repeat([[0.6, 0.4], [0.9, 0.1]], [10, 30], axis=0)
    truth = np.repeat([0, 1, 0, 1], [8, 2, 18, 12])  # 80 % right at 0.6, 60 % at 0.9
    curve = reliability_curve(truth, said)
    confidence, accuracy, images = curve.confidence, curve.accuracy, curve.images
    assert confidence == pytest.approx([0.6, 0.9]) and accuracy == pytest.approx([0.8, 0.6])
    assert list(images) == [10, 30]
    assert expected_calibration_error(truth, said) == pytest.approx((0.2 * 10 + 0.3 * 30) / 40)


def test_calibrated_draws_have_an_error_of_noise_alone_and_less_of_it_with_more_images():
    def error(images: int) -> float:
        errors = []
        for seed in range(5):
            logits, truth = honest(images, seed=seed)
            errors.append(expected_calibration_error(truth, softmax(logits)))
        return float(np.mean(errors))

    logits, truth = honest(3200)
    assert error(40_000) < 0.007 < error(3200) < 0.03 < expected_calibration_error(truth, softmax(2 * logits))


def test_the_fitted_temperature_takes_the_error_away():
    logits, truth = honest(6400)
    fitted, held_out = slice(0, 3200), slice(3200, None)
    said = softmax(3 * logits)
    after = apply_temperature(said, fit_temperature(said[None, fitted], truth[fitted]))
    assert expected_calibration_error(truth[held_out], after[held_out]) < 0.03
    assert expected_calibration_error(truth[held_out], said[held_out]) > 0.1


def test_the_points_are_scikit_learns():
    logits, truth = honest(1100)
    said = softmax(logits)
    accuracy, confidence = calibration_curve(said.argmax(1) == truth, said.max(1), n_bins=15, strategy="quantile")
    ours = reliability_curve(truth, said, 15)
    assert ours.confidence == pytest.approx(confidence) and ours.accuracy == pytest.approx(accuracy)
    assert ours.images.sum() == 1100 and ours.images.max() - ours.images.min() <= 1
