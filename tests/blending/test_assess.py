"""Every number of an assessment belongs to the predictions that it names: cross-fitted, in-sample or uncalibrated."""

from __future__ import annotations

import numpy as np
import pytest

from comp.blending.assess import assess
from comp.ensemble.calibrate import Confidence, expected_calibration_error
from comp.ensemble.crossfit import MemberFitOptions, fit_members, predict_in_sample
from comp.metrics import score
from tests.ensemble.pools import IMAGES, cross_fitted, make_pool, make_probabilities, sharpen

OPTIONS, UNCALIBRATED = MemberFitOptions(max_views=2), MemberFitOptions(calibrate=False, max_views=2)


@pytest.fixture(scope="module")
def pool():
    """Overconfident members."""
    names = ("anna", "bert", "carl")
    return make_pool(
        "log_loss", **{name: sharpen(make_probabilities(seed, 1.0, views=3)) for seed, name in enumerate(names)}
    )


@pytest.mark.parametrize("method", ["mean", "greedy"])
def test_assess_scores_are_of_the_predictions_they_name(pool, method):
    assessment, name = assess(pool, method, OPTIONS), f"{method} of 3"
    result, summary = assessment.result, assessment.oof_summary()
    assert list(assessment.cross_fitted) == list(dict.fromkeys(["anna", "bert", "carl", "mean of 3", name]))
    assert assessment.result_name == result.name == name
    calibrated, uncalibrated = (cross_fitted(pool, method, options) for options in (OPTIONS, UNCALIBRATED))
    in_sample = predict_in_sample(method, fit_members(pool, np.arange(IMAGES), OPTIONS), pool)
    assert result.score == summary.score == result.loss == score("log_loss", pool.targets, calibrated)
    assert result.naive_score == summary.naive == score("log_loss", pool.targets, in_sample)
    assert result.ece_before == expected_calibration_error(Confidence.of(pool.targets, uncalibrated))
    assert result.ece == expected_calibration_error(Confidence.of(pool.targets, calibrated)) != result.ece_before
    assert np.array_equal(assessment.oof_table()[list(pool.columns)], calibrated)
    assert list(summary.per_fold) == [
        score("log_loss", pool.targets[rows], calibrated[rows]) for rows in (pool.folds == fold for fold in range(4))
    ]


def test_assess_member_of_several_scores_as_if_it_were_alone(pool):
    alone = assess(make_pool("log_loss", bert=pool.members[1].oof), "mean", OPTIONS)
    assert alone.result_name == "bert" and list(alone.cross_fitted) == ["bert"]
    candidates = {candidate.name: candidate for candidate in assess(pool, "mean", OPTIONS).candidates}
    assert candidates["bert"] == alone.result
