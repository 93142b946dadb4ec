"""What is said of a blend is what was measured: honest where it says cross-fitted, naive where it says naive."""

from __future__ import annotations

import numpy as np
import pytest

from comp.blending.assess import assess
from comp.ensemble.calibrate import expected_calibration_error
from comp.ensemble.crossfit import MemberFitOptions, fit_each_fold, fit_members, predict_cross_fitted, predict_in_sample
from comp.metrics import score
from tests.test_ensemble import IMAGES, opinions, pool_of, sharpened

LEARNING, PLAIN = MemberFitOptions(max_views=2), MemberFitOptions(calibrate=False, max_views=2)


@pytest.fixture(scope="module")
def pool():
    """Members surer than they should be."""
    return pool_of(
        "log_loss",
        **{name: sharpened(opinions(seed, 1.0, views=3)) for seed, name in enumerate(("anna", "bert", "carl"))},
    )


@pytest.mark.parametrize("method", ["mean", "greedy"])
def test_every_number_is_of_the_predictions_it_names(pool, method):
    found = assess(pool, method, LEARNING)
    name, everyone = f"{method} of 3", fit_members(pool, np.arange(IMAGES), LEARNING)
    assert list(found.cross_fitted) == list(dict.fromkeys(["anna", "bert", "carl", "mean of 3", name]))
    assert found.result_name == found.result.name == name
    after, before = (predict_cross_fitted(method, fit_each_fold(pool, each), pool) for each in (LEARNING, PLAIN))
    one = found.result
    assert one.score == found.oof_summary().score == one.log_loss == score("log_loss", pool.targets, after)
    in_sample = predict_in_sample(method, everyone, pool)
    assert one.naive_score == found.oof_summary().naive == score("log_loss", pool.targets, in_sample)
    assert one.ece_before == expected_calibration_error(pool.targets, before)
    assert one.ece == expected_calibration_error(pool.targets, after) != one.ece_before
    assert np.array_equal(found.oof_table()[list(pool.classes)], after)
    assert list(found.oof_summary().per_fold) == [
        score("log_loss", pool.targets[rows], after[rows]) for rows in (pool.folds == fold for fold in range(4))
    ]


def test_a_member_is_a_candidate_as_if_it_were_alone(pool):
    alone = assess(pool_of("log_loss", bert=pool.members[1].oof), "mean", LEARNING)
    assert alone.result_name == "bert" and list(alone.cross_fitted) == ["bert"]
    among = {one.name: one for one in assess(pool, "mean", LEARNING).candidates}
    assert among["bert"] == alone.result
