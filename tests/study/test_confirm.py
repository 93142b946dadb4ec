from __future__ import annotations

import optuna
import pytest

from comp.study.confirm import parameter_importances


def test_parameter_importances_find_the_key_that_matters_with_enough_trials():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("idle", 0, 1), 9)
    assert parameter_importances(study) == {}
    study.optimize(lambda trial: trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("idle", 0, 1), 20)
    importances = parameter_importances(study)
    assert importances["matters"] > 0.8 and sum(importances.values()) == pytest.approx(1)
