"""Hyperparameter search: an Optuna study whose trials are ordinary runs, resumable and shared by processes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna
import torch
from optuna.trial import FrozenTrial, Trial, TrialState

from comp.data.folds import parse_fold_range, parse_folds, read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.metrics import find_metric
from comp.observers.protocol import Observer
from comp.schema import Config
from comp.study.confirm import finish_study, format_value
from comp.study.pruning import FoldMedianPruner, OptunaReporter, TrialTakenError
from comp.study.space import StudyConfig
from comp.study.store import Claims, TrialHold, TrialStore, open_store
from comp.study.trial import TrialOutcome, run_trial
from comp.training.checks import check_names

MAX_DEATHS = 3  # of processes in a row that report no new epoch of a trial

MakeObservers = Callable[[int], Sequence[Observer]]  # the observers of a trial, by its number


def tune(study: StudyConfig, trials: int, device: torch.device, storage: str | None = None) -> None:
    """Run trials until the study has `trials`, then compare the winner with the base on folds it did not use."""
    search = open_search(study, trials, storage)
    run_trials(search, device)
    running = search.running_trials()
    if running:
        numbers = ", ".join(map(str, running))
        print(f"trial {numbers} is still running in another process; run the same command again when it has ended")
        return
    finish_study(study, search.optuna_study, device)


@dataclass(frozen=True)
class Search:
    """A study that is open for trials."""

    study: StudyConfig
    trials: int
    optuna_study: optuna.Study
    store: TrialStore
    metric: str
    epochs: int  # of a fold, at most

    def running_trials(self) -> list[int]:
        """Return the numbers of the trials that have not ended."""
        return [trial.number for trial in self.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that this process works on."""

    trial: Trial
    values: Mapping[str, object]
    hold: TrialHold


def open_search(study: StudyConfig, trials: int, storage: str | None) -> Search:
    """Check the study, then open its trials; refuse a study that was begun with another base or space."""
    base = study.make_config({}, "base")
    _check_study(study, base)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    higher_is_better = find_metric(base.train.metric).higher_is_better
    epochs = max(config.train.epochs for config in (base, *study.edge_configs()))
    definition = {"space": study.model_dump(exclude={"base"}), "base": base.identity()}
    store = open_store(study.name, storage)

    def create(_: Claims) -> optuna.Study:
        optuna_study = optuna.create_study(
            storage=store.storage,
            study_name=study.name,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
            pruner=FoldMedianPruner(epochs, higher_is_better),
        )
        if "asks" not in optuna_study.user_attrs:
            optuna_study.set_user_attr("asks", definition)
        return optuna_study

    optuna_study = store.claim(create)  # or two processes that begin together would both write the definition
    asks = optuna_study.user_attrs["asks"]
    added = Config(name=study.name).identity()  # keys that an earlier version did not have are at their defaults
    if {**asks, "base": {**added, **asks["base"]}} != definition:
        raise UserError(
            f"the study {study.name} was begun with another base or space; copy the study under another file name"
        )
    return Search(study, trials, optuna_study, store, base.train.metric, epochs)


def _check_study(study: StudyConfig, base: Config) -> None:
    """Check names and folds before the first trial."""
    for config in study.edge_configs():
        check_names(config)
    table = read_folds(base.folds_file, scan(base.source), base.folds.allow_split_groups)
    folds, confirm_folds = (parse_folds(str(text), table) for text in (study.folds, study.confirm))
    if set(folds) & set(confirm_folds):
        raise UserError(
            f"the study's folds {study.folds} and confirm {study.confirm} share a fold; choose confirm folds that the "
            f"study does not use"
        )


def run_trials(search: Search, device: torch.device, make_observers: MakeObservers = lambda _: ()) -> None:
    """Train trials in this process until none is left that no other process works on."""
    while (claimed := search.store.claim(lambda claims: _claim_trial(search, claims))) is not None:
        with claimed.hold:
            _run_claimed(search, claimed, device, make_observers)


def _claim_trial(search: Search, claims: Claims) -> ClaimedTrial | None:
    """Return a trial to run: one whose process died, or a new one while the study has fewer than `trials`."""
    existing = search.optuna_study.get_trials(deepcopy=False)
    for frozen in existing:
        if frozen.state == TrialState.RUNNING and (hold := claims.hold(frozen)):
            trial = Trial(search.optuna_study, frozen._trial_id)
            if not _fail_after_deaths(search, trial, frozen):
                return _draw_values(search, trial, hold)
            hold.locks.close()
    if len(existing) >= search.trials:
        return None
    trial = search.optuna_study.ask()
    hold = claims.hold(trial)
    assert hold is not None, "no other process knows a new trial"
    return _draw_values(search, trial, hold)


def _draw_values(search: Search, trial: Trial, hold: TrialHold) -> ClaimedTrial:
    """Draw the values of a trial now, so that they do not depend on the trials that others draw later."""
    # One seed per trial: a sampler seeded once per process would repeat trial 0 after every restart.
    search.optuna_study.sampler = optuna.samplers.TPESampler(
        seed=search.study.seed * 100_003 + trial.number, n_startup_trials=8, constant_liar=True
    )
    return ClaimedTrial(trial, search.study.suggest(trial), hold)


def _fail_after_deaths(search: Search, trial: Trial, frozen: FrozenTrial) -> bool:
    """End a trial whose process died several times without a new epoch, perhaps because memory ran out."""
    if frozen.user_attrs.get("paused"):
        trial.set_user_attr("paused", False)
        return False
    deaths = [*frozen.user_attrs.get("deaths", []), len(frozen.intermediate_values)]
    trial.set_user_attr("deaths", deaths)
    if len(deaths) < MAX_DEATHS or len(set(deaths[-MAX_DEATHS:])) > 1:
        return False
    note = f"its process died {MAX_DEATHS} times without a new epoch, perhaps because memory ran out"
    _end_trial(search, trial, TrialOutcome("failed", note=note))
    return True


def _run_claimed(search: Search, claimed: ClaimedTrial, device: torch.device, make_observers: MakeObservers) -> None:
    study, trial = search.study, claimed.trial
    values = " ".join(f"{key}={format_value(value)}" for key, value in claimed.values.items())
    print(f"trial {trial.number}: {values}", flush=True)
    reporter = OptunaReporter(trial, parse_fold_range(str(study.folds)), search.epochs, claimed.hold.is_lost)
    try:
        outcome = run_trial(study, trial.number, claimed.values, device, [reporter, *make_observers(trial.number)])
    except TrialTakenError:
        print(f"trial {trial.number}: another process continues it, because this one did not answer", flush=True)
        return
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # it would hide the interruption
            trial.set_user_attr("paused", True)
        raise
    _end_trial(search, trial, outcome)


def _end_trial(search: Search, trial: Trial, outcome: TrialOutcome) -> None:
    """Report how a trial ended, unless another process has."""
    end = functools.partial(search.optuna_study.tell, trial, skip_if_finished=True)
    if outcome.note:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.set_user_attr("note", outcome.note)
    if outcome.score is not None:
        end(outcome.score)
    else:
        end(state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL)
    score = "" if outcome.score is None else f"{search.metric} {outcome.score:.4f}"
    print(f"trial {trial.number}: {score or outcome.note or outcome.state}", flush=True)
