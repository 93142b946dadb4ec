"""Temperatures and calibration errors of members whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from comp.ensemble.calibrate import (
    Confidence,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
)
from comp.metrics import score

CLASSES = 8


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def calibrated_logits(images: int = 3200, scale: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and targets drawn from their softmax: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(images, CLASSES))
    return logits, (softmax(logits).cumsum(1) > rng.random((images, 1))).argmax(1)


def noisy_views(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy views (views, images, classes) of the same images by an overconfident member, and the targets."""
    logits, targets = calibrated_logits(seed=seed)
    noise = np.random.default_rng(seed + 1).normal(size=(count, *logits.shape))
    return softmax(2 * (logits + noise)), targets


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 3, 20])
def test_apply_temperature_equals_dividing_the_logits(temperature, dtype):
    logits = calibrated_logits(100)[0].astype(dtype)
    tempered = apply_temperature(softmax(logits), temperature)
    assert tempered.dtype == dtype
    assert np.allclose(tempered, softmax(logits / temperature), rtol=1e-3, atol=1e-7)


def test_apply_temperature_of_one_changes_no_bit():
    probabilities = softmax(calibrated_logits(100)[0]).astype(np.float32)
    probabilities[0] = np.eye(CLASSES)[0]
    assert np.array_equal(apply_temperature(probabilities, 1.0), probabilities)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 0.999, 1.001, 4, 20])
def test_apply_temperature_zeros_of_float32_stay_finite(temperature):
    probabilities = np.eye(CLASSES, dtype=np.float32)[[0, 3, 7]]
    probabilities[1, 2] = 1e-45
    with np.errstate(all="raise", under="ignore"):
        tempered = apply_temperature(probabilities, temperature)
    assert np.isfinite(tempered).all() and np.allclose(tempered.sum(1), 1) and (tempered.argmax(1) == [0, 3, 7]).all()
    assert fit_temperature(probabilities[None], np.array([1, 1, 1])) > 1


def test_apply_temperature_a_thousand_equal_classes_stay_equal():
    """1e-3 to the power of 20 underflows in float32."""
    uniform = np.full((2, 1000), 1e-3, dtype=np.float32)
    assert np.allclose(apply_temperature(uniform, 0.05), uniform)


@pytest.mark.parametrize("temperature", [0.2, 0.9, 3])
def test_apply_temperature_one_view_keeps_its_accuracy(temperature):
    (view,), targets = noisy_views(1)
    assert score("accuracy", targets, apply_temperature(view, temperature)) == score("accuracy", targets, view)


@pytest.mark.parametrize("shape", [(5, CLASSES), (2, 5, CLASSES), (3, 2, 5, CLASSES)])
def test_apply_temperature_treats_views_and_members_separately(shape):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(CLASSES), shape[:-1])
    flat = np.stack([apply_temperature(row, 2.5) for row in probabilities.reshape(-1, CLASSES)])
    assert np.array_equal(apply_temperature(probabilities, 2.5), flat.reshape(shape))


@pytest.mark.parametrize("factor", [0.2, 0.5, 1, 2, 5])
def test_fit_temperature_scaled_logits_give_back_the_factor(factor):
    """A calibrated member gets about 1, within the sampling noise of 3,200 images."""
    logits, targets = calibrated_logits()
    assert fit_temperature(softmax(factor * logits)[None], targets) == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("count", [1, 4])
def test_fit_temperature_no_other_has_less_log_loss(count):
    views, targets = noisy_views(count)
    temperature = fit_temperature(views, targets)

    def loss(candidate: float) -> float:
        return score("log_loss", targets, apply_temperature(views, candidate).mean(0))

    assert loss(temperature) < loss(1)
    assert all(loss(temperature) < loss(temperature * factor) for factor in (0.8, 0.95, 1.05, 1.2))


def test_fit_temperature_is_of_the_mean_of_views():
    """Averaging views that disagree lowers the confidence, so each view may be more confident than when used alone."""
    views, targets = noisy_views(8)
    alone = [fit_temperature(view[None], targets) for view in views]
    assert fit_temperature(views, targets) < min(alone)


def test_fit_temperature_copies_and_order_have_no_effect():
    views, targets = noisy_views(3)
    rng = np.random.default_rng(5)
    rows, classes = rng.permutation(len(targets)), rng.permutation(CLASSES)
    temperature = fit_temperature(views, targets)
    reordered = fit_temperature(views[::-1][:, rows][..., classes], np.argsort(classes)[targets[rows]])
    assert fit_temperature(np.concatenate([views, views]), targets) == pytest.approx(temperature, rel=1e-3)
    assert reordered == pytest.approx(temperature, rel=1e-3)


@pytest.mark.parametrize("constant", [np.full(CLASSES, 1 / CLASSES), np.eye(CLASSES)[0]])
def test_fit_temperature_uninformative_member_returns_one(constant):
    assert fit_temperature(np.tile(constant, (1, 50, 1)), np.zeros(50, dtype=int)) == pytest.approx(1, abs=2e-3)


def test_fit_temperature_few_images_all_correct_stays_moderate():
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=64)
    probabilities = softmax(5 * np.eye(CLASSES)[targets] + rng.normal(size=(64, CLASSES)))
    assert (probabilities.argmax(1) == targets).all() and 0.2 < fit_temperature(probabilities[None], targets) < 1


@pytest.mark.parametrize(("confidence", "correct", "error"), [(0.9, 7, 0.2), (0.6, 6, 0), (0.5, 9, 0.4)])
def test_expected_calibration_error_constant_confidence_by_hand(confidence, correct, error):
    """All images have one confidence, so they share a bin in any order; `correct` of ten images are correct."""
    targets = np.tile(np.arange(10) >= correct, 30).astype(int)
    probabilities = np.tile([confidence, *[(1 - confidence) / 7] * 7], (300, 1))
    for order in (np.arange(300), np.argsort(targets)):
        assert expected_calibration_error(Confidence.of(targets[order], probabilities[order])) == pytest.approx(error)


def test_reliability_curve_two_bins_by_hand():
    probabilities = np.repeat([[0.6, 0.4], [0.9, 0.1]], [10, 30], axis=0)
    targets = np.repeat([0, 1, 0, 1], [8, 2, 18, 12])  # 80 % correct at 0.6, 60 % at 0.9
    curve = reliability_curve(Confidence.of(targets, probabilities))
    assert curve.confidence == pytest.approx([0.6, 0.9]) and curve.accuracy == pytest.approx([0.8, 0.6])
    assert list(curve.images) == [10, 30]
    assert expected_calibration_error(Confidence.of(targets, probabilities)) == pytest.approx(
        (0.2 * 10 + 0.3 * 30) / 40
    )


def test_expected_calibration_error_calibrated_member_has_noise_that_shrinks_with_images():
    def mean_error(images: int) -> float:
        errors = []
        for seed in range(5):
            logits, targets = calibrated_logits(images, seed=seed)
            errors.append(expected_calibration_error(Confidence.of(targets, softmax(logits))))
        return float(np.mean(errors))

    logits, targets = calibrated_logits(3200)
    overconfident = expected_calibration_error(Confidence.of(targets, softmax(2 * logits)))
    assert mean_error(40_000) < 0.007 < mean_error(3200) < 0.03 < overconfident


def test_fit_temperature_removes_the_error_on_held_out_images():
    logits, targets = calibrated_logits(6400)
    fitted, held_out = slice(0, 3200), slice(3200, None)
    probabilities = softmax(3 * logits)
    tempered = apply_temperature(probabilities, fit_temperature(probabilities[None, fitted], targets[fitted]))
    assert expected_calibration_error(Confidence.of(targets[held_out], tempered[held_out])) < 0.03
    assert expected_calibration_error(Confidence.of(targets[held_out], probabilities[held_out])) > 0.1


def test_reliability_curve_equals_scikit_learns():
    logits, targets = calibrated_logits(1100)
    probabilities = softmax(logits)
    accuracy, confidence = calibration_curve(
        probabilities.argmax(1) == targets, probabilities.max(1), n_bins=15, strategy="quantile"
    )
    curve = reliability_curve(Confidence.of(targets, probabilities))
    assert curve.confidence == pytest.approx(confidence) and curve.accuracy == pytest.approx(accuracy)
    assert curve.images.sum() == 1100 and curve.images.max() - curve.images.min() <= 1


def test_expected_calibration_error_of_few_images_counts_each():
    """Three images in fifteen bins: 0.9 and 0.7 are correct, 0.6 is not."""
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    targets = np.array([0, 1, 1])
    assert expected_calibration_error(Confidence.of(targets, probabilities)) == pytest.approx((0.1 + 0.6 + 0.3) / 3)
    assert reliability_curve(Confidence.of(targets, probabilities)).images.tolist() == [1, 1, 1]


def test_expected_calibration_error_of_one_bin_lets_errors_cancel():
    probabilities = np.repeat([[0.6, 0.4], [0.9, 0.1]], [10, 30], axis=0)
    targets = np.repeat([0, 1, 0, 1], [8, 2, 18, 12])  # 80 % correct at 0.6, 60 % at 0.9
    assert expected_calibration_error(Confidence.of(targets, probabilities), bins=1) == pytest.approx(0.825 - 0.65)


@pytest.mark.parametrize("images", [3, 12])
def test_fit_temperature_of_few_images_weighs_one_image_against_it(images):
    """The prior of log T is a standard normal one, in the weight of one image."""
    logits, targets = calibrated_logits(images)
    probabilities = softmax(4 * logits)
    temperatures = np.exp(np.linspace(-2, 2, 4001))
    losses = [score("log_loss", targets, apply_temperature(probabilities, value)) for value in temperatures]
    best = temperatures[np.argmin(images * np.array(losses) + np.log(temperatures) ** 2 / 2)]
    assert abs(best - 1) > 0.1 and fit_temperature(probabilities[None], targets) == pytest.approx(best, rel=3e-3)


@pytest.mark.parametrize(("factor", "bound"), [(1000, 20), (0.001, 0.05)])
def test_fit_temperature_has_its_bounds(factor, bound):
    logits, targets = calibrated_logits(1600)
    assert fit_temperature(softmax(np.clip(factor * logits, -80, 80))[None], targets) == pytest.approx(bound, rel=0.02)
