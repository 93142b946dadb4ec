"""The importance of each searched key for the score."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState

MIN_TRIALS = 10


def parameter_importances(optuna_study: optuna.Study) -> dict[str, float]:
    """Return each key's share of the variance of scores by PED-ANOVA; empty below ten trials, which are too few.

    Of several objectives the first counts.
    """
    complete = optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS:
        return {}
    target = (lambda trial: trial.values[0]) if len(optuna_study.directions) > 1 else None
    try:
        return optuna.importance.get_param_importances(optuna_study, target=target)
    except (ValueError, RuntimeError):  # all scores are equal
        return {}
