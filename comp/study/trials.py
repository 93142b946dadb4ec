"""The trials that this process runs: each is claimed, trained and reported, and one that died is continued."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from comp.data.folds import parse_fold_range
from comp.launch.options import Trainer
from comp.observers.protocol import Observer
from comp.study.pruning import OptunaReporter, TrialTakenError
from comp.study.record import write_study_record
from comp.study.search import Search
from comp.study.space import ParameterValues, format_value
from comp.study.store import Claims, TrialHold
from comp.study.trial import TrialOutcome

MAX_DEATHS = 3  # of processes in a row that report no new epoch of a trial

MakeObservers = Callable[[int], Sequence[Observer]]  # the observers of a trial, by its number


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that this process works on."""

    trial: Trial
    values: ParameterValues
    hold: TrialHold


def run_trials(search: Search, trainer: Trainer, make_observers: MakeObservers = lambda _: ()) -> None:
    """Train trials in this process until none is left that no other process works on."""
    while (claimed := search.store.claim(lambda claims: _claim_trial(search, claims))) is not None:
        with claimed.hold:
            if search.has_record:
                write_study_record(search)
            _run_claimed(search, claimed, trainer, make_observers)
            if search.has_record:
                write_study_record(search)


def _claim_trial(search: Search, claims: Claims) -> ClaimedTrial | None:
    """Return a trial to run: one whose process died, or a new one while the study has fewer than `trials`.

    Its values are drawn now, so that they do not depend on the trials that others draw later.
    """
    existing = search.optuna_study.get_trials(deepcopy=False)
    for frozen in existing:
        if frozen.state == TrialState.RUNNING and (hold := claims.hold(frozen)):
            frozen = search.store.storage.get_trial(frozen._trial_id)  # it may have ended since `existing` was read
            if frozen.state == TrialState.RUNNING:
                trial = Trial(search.optuna_study, frozen._trial_id)
                if not _fail_after_deaths(search, trial, frozen):
                    return ClaimedTrial(trial, search.draw(trial), hold)
            hold.locks.close()
    waiting = [frozen.number for frozen in existing if frozen.state == TrialState.WAITING]
    if not waiting and len(existing) >= search.trials:
        return None
    trial = search.create_trial(waiting[0] if waiting else len(existing))
    hold = claims.hold(trial)
    assert hold is not None, "no other process knows a new trial"
    return ClaimedTrial(trial, search.draw(trial), hold)


def _fail_after_deaths(search: Search, trial: Trial, frozen: FrozenTrial) -> bool:
    """End a trial whose process died several times without a new epoch, perhaps because memory ran out."""
    if frozen.user_attrs.get("paused"):
        trial.set_user_attr("paused", False)
        return False
    deaths = [*frozen.user_attrs.get("deaths", []), frozen.user_attrs.get("epoch", frozen.last_step)]
    trial.set_user_attr("deaths", deaths)
    if len(deaths) < MAX_DEATHS or len(set(deaths[-MAX_DEATHS:])) > 1:
        return False
    note = f"its process died {MAX_DEATHS} times without a new epoch, perhaps because memory ran out"
    _end_trial(search, trial, TrialOutcome("failed", note=note))
    return True


def _run_claimed(search: Search, claimed: ClaimedTrial, trainer: Trainer, make_observers: MakeObservers) -> None:
    trial = claimed.trial
    values = " ".join(f"{key}={format_value(value)}" for key, value in claimed.values.items())
    print(f"{search.label} {trial.number}: {values}", flush=True)
    reporter = OptunaReporter(trial, parse_fold_range(str(search.study.folds)), search.epochs, claimed.hold.is_lost)
    try:
        outcome = search.run(trial.number, claimed.values, trainer, [reporter, *make_observers(trial.number)])
    except TrialTakenError:
        print(
            f"{search.label} {trial.number}: another process continues it, because this one did not answer", flush=True
        )
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
    if outcome.state == "complete":
        end(list(outcome.scores))
    else:
        end(state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL)
    scores = ", ".join(f"{name} {score:.4f}" for name, score in zip(search.objectives, outcome.scores, strict=False))
    print(f"{search.label} {trial.number}: {scores or outcome.note or outcome.state}", flush=True)
