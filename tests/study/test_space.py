"""The space of a study: what Optuna is asked to draw each value from."""

from __future__ import annotations

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from comp.study.study_file import StudyConfig


def test_suggest_draws_from_the_ends_and_scales_of_the_study():
    space = {
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.5},
        "train.epochs": {"low": 1, "high": 64, "log": True},
        "data.crop": {"low": 200, "high": 224},
        "optim.weight_decay": {"low": 0, "high": 0.1},  # one end is no integer
        "augment.policy": ["none", "flips"],
    }
    trial = optuna.create_study().ask()
    values = StudyConfig(name="x", base="y.yaml", space=space).suggest(trial)
    assert trial.distributions == {
        "optim.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "model.dropout": FloatDistribution(0.0, 0.5),
        "train.epochs": IntDistribution(1, 64, log=True),
        "data.crop": IntDistribution(200, 224),
        "optim.weight_decay": FloatDistribution(0.0, 0.1),
        "augment.policy": CategoricalDistribution(("none", "flips")),
    }
    assert values == trial.params and list(values) == list(space)
