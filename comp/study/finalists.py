"""The best trials of a study, trained again with new seeds: the score that chose them is optimistic.

They are trials of a second Optuna study in the same storage, so that processes share them in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import ClassVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from comp.launch.options import Trainer
from comp.observers.protocol import Observer
from comp.study.search import Search, open_search
from comp.study.space import ParameterValues
from comp.study.store import Claims
from comp.study.study_file import StudyConfig
from comp.study.trial import TrialOutcome, train_trial


@dataclass(frozen=True)
class FinalSearch(Search):
    """The trainings of the finalists. The values of a trial are the number of the finalist and of the seed."""

    label: ClassVar[str] = "final training"
    has_record: ClassVar[bool] = False
    finalists: Mapping[int, ParameterValues] = field(default_factory=dict)  # by the number of the trial

    def draw(self, trial: Trial) -> ParameterValues:
        """Return the finalist and the seed of a training, which are given."""
        return {name: trial.suggest_int(name, 0, 10**6) for name in ("trial", "seed")}

    def run(
        self, number: int, values: ParameterValues, trainer: Trainer, observers: Sequence[Observer]
    ) -> TrialOutcome:
        """Train a finalist with another seed."""
        finalist, seed = int(str(values["trial"])), int(str(values["seed"]))
        base_seed = self.study.make_config({}, "base").train.seed
        overrides = {"train.seed": base_seed + seed}
        config = self.study.make_config(self.finalists[finalist], f"final_{finalist:04d}-{seed}", overrides)
        return train_trial(self.study, config, trainer, observers)


def best_trials(study: StudyConfig, optuna_study: optuna.Study) -> list[FrozenTrial]:
    """Return the finalists: the best complete trials, the best first; of equal ones the earlier."""
    complete = optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if optuna_study.directions[0] == StudyDirection.MAXIMIZE else 1
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))[: study.finalists]


def open_finalists(study: StudyConfig, trials: int, storage: str | None) -> FinalSearch:
    """Open the trainings of the finalists. A longer study may have others: theirs are added to those that exist."""
    search = open_search(study, trials, storage)
    finalists = {trial.number: trial.params for trial in best_trials(study, search.optuna_study)}
    required = [{"trial": number, "seed": seed + 1} for number in finalists for seed in range(study.finalist_seeds)]

    def create(_: Claims) -> optuna.Study:
        optuna_study = optuna.create_study(
            storage=search.store.storage,
            study_name=f"{study.name}.finalists",
            direction=search.optuna_study.direction,
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner(),
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        points = optuna_study.user_attrs.get("points", [])
        if added := [point for point in required if point not in points]:
            optuna_study.set_user_attr("points", [*points, *added])
        return optuna_study

    optuna_study = search.store.claim(create)
    points = optuna_study.user_attrs.get("points", [])
    return FinalSearch(
        study, len(points), optuna_study, search.store.named("final"), search.metric, search.epochs, points, finalists
    )


def choose_winner(
    study: StudyConfig, optuna_study: optuna.Study, finals: optuna.Study
) -> tuple[FrozenTrial, list[str]]:
    """Return the finalist with the best mean over its new seeds, and a line per finalist."""
    scores: dict[int, list[float]] = {}
    for training in finals.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        scores.setdefault(training.params["trial"], []).append(training.values[0])
    lines, ranked = [], []
    sign = -1 if optuna_study.directions[0] == StudyDirection.MAXIMIZE else 1
    for rank, trial in enumerate(best_trials(study, optuna_study)):
        new = scores.get(trial.number, [])
        text = f"mean {mean(new):.4f} of {', '.join(f'{score:.4f}' for score in new)}" if new else "failed"
        lines.append(f"finalist {trial.number}: {trial.values[0]:.4f} when it was chosen, with new seeds {text}")
        if new:
            ranked.append((sign * mean(new), rank, trial))
    return min(ranked)[2] if ranked else best_trials(study, optuna_study)[0], lines
