"""A study that is open for trials: checked, with its storage, its sampler and its pruner."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState
from pydantic import ValidationError

from comp.data.folds import parse_folds, read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.launch.options import Trainer
from comp.metrics import find_metric
from comp.observers.protocol import Observer
from comp.schema import Config
from comp.study.sampler import check_sampler, grid_points, make_pruner, make_sampler
from comp.study.space import ParameterValues
from comp.study.store import Claims, TrialStore, open_store
from comp.study.stored import best_points
from comp.study.study_file import StudyConfig
from comp.study.trial import TrialOutcome, run_trial
from comp.training.checks import check_names


@dataclass(frozen=True)
class Search:
    """A study that is open for trials."""

    study: StudyConfig
    trials: int
    optuna_study: optuna.Study
    store: TrialStore
    metric: str
    epochs: int  # of a fold, at most
    points: Sequence[ParameterValues] = ()  # of the first trials, which are not drawn
    label: ClassVar[str] = "trial"
    has_record: ClassVar[bool] = True  # study.json lists its trials

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of a trial's scores."""
        return (self.metric, *self.study.objectives[1:])

    def create_trial(self, number: int) -> Trial:
        """Create the trial of this number, or take the one that a killed process left without values."""
        if number < len(self.points) and not self.optuna_study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.optuna_study.enqueue_trial(dict(self.points[number]))
        return self.optuna_study.ask()

    def draw(self, trial: Trial) -> ParameterValues:
        """Return the values of a trial."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's of experimental options, and of choices that are lists
            self.optuna_study.sampler = make_sampler(self.study, trial.number)
            return self.study.suggest(trial)

    def run(
        self, number: int, values: ParameterValues, trainer: Trainer, observers: Sequence[Observer]
    ) -> TrialOutcome:
        """Train a trial."""
        return run_trial(self.study, number, values, trainer, observers)

    def running_trials(self) -> list[int]:
        """Return the numbers of the trials that have not ended."""
        return [trial.number for trial in self.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]


OpenSearch = Callable[[], Search]  # can be sent to another process


def open_search(study: StudyConfig, trials: int, storage: str | None) -> Search:
    """Check the study, then open its trials; refuse a study that was begun with another base or space."""
    base = study.make_config({}, "base")
    _check_study(study, base)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    higher_is_better = find_metric(base.train.metric).higher_is_better
    epochs = max(config.train.epochs for config in (base, *study.edge_configs()))
    directions = [StudyDirection.MAXIMIZE if higher_is_better else StudyDirection.MINIMIZE]
    directions += [StudyDirection.MINIMIZE for _ in study.objectives[1:]]
    definition = {"space": study.model_dump(exclude={"base"}), "base": base.identity()}
    store = open_store(study.name, storage)

    def create(_: Claims) -> optuna.Study:
        optuna_study = optuna.create_study(
            storage=store.storage,
            study_name=study.name,
            directions=directions,
            load_if_exists=True,
            pruner=make_pruner(study, epochs, higher_is_better),
        )
        if "asks" not in optuna_study.user_attrs:
            if study.warm_start:
                optuna_study.set_user_attr("warm_start", best_points(study, storage))
            optuna_study.set_user_attr("asks", definition)
        return optuna_study

    optuna_study = store.claim(create)  # or two processes that begin together would both write the definition
    if not _is_same(optuna_study.user_attrs["asks"], study, base):
        raise UserError(
            f"the study {study.name} was begun with another base or space; copy the study under another file name"
        )
    grid = grid_points(study)
    points = [*study.first_points(), *optuna_study.user_attrs.get("warm_start", []), *grid]
    total = min(trials, len(points)) if grid else trials
    return Search(study, total, optuna_study, store, base.train.metric, epochs, points)


def _is_same(stored: dict[str, Any], study: StudyConfig, base: Config) -> bool:
    """Return whether a stored definition is that of this study; keys that an earlier version did not have are at
    their defaults."""
    try:
        stored_study = StudyConfig.model_validate({**stored["space"], "base": study.base})
    except ValidationError:  # of a later version
        return False
    return stored_study == study and {**Config(name=study.name).identity(), **stored["base"]} == base.identity()


def _check_study(study: StudyConfig, base: Config) -> None:
    """Check the sampler, names and folds before the first trial."""
    check_sampler(study)
    for config in study.edge_configs():
        check_names(config)
    table = read_folds(base.folds_file, scan(base.source), base.folds.allow_split_groups)
    folds, confirm_folds = (parse_folds(str(text), table) for text in (study.folds, study.confirm))
    if set(folds) & set(confirm_folds):
        raise UserError(
            f"the study's folds {study.folds} and confirm {study.confirm} share a fold; choose confirm folds that the "
            f"study does not use"
        )
