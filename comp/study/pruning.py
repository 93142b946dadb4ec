"""Report epochs to Optuna, and prune trials.

The epoch number continues from fold to fold, so that trials are compared at the same epoch of the same fold, even if a
restart skipped finished folds.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from comp.engine.fit import Step
from comp.observers.protocol import PauseTraining, StopTraining
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow


class FoldMedianPruner(optuna.pruners.BasePruner):
    """Stop a trial whose best epoch of this fold is below the median of complete trials up to the same epoch.

    Optuna's MedianPruner takes the best over all steps, so that a good first fold would hide a bad second one.
    """

    def __init__(self, epochs: int, higher_is_better: bool, min_trials: int = 4, warmup_epochs: int = 2):
        self.epochs, self.sign = epochs, 1 if higher_is_better else -1
        self.min_trials, self.warmup_epochs = min_trials, warmup_epochs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether to stop the trial after its last reported epoch."""
        step = trial.last_step
        if step is None:
            return False
        fold_start = (step - 1) // self.epochs * self.epochs
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best_scores = [self._best_score(other, fold_start, step) for other in complete]
        if len(best_scores) < self.min_trials or step - fold_start <= self.warmup_epochs:
            return False
        return bool(self._best_score(trial, fold_start, step) < np.median(best_scores))

    def _best_score(self, trial: FrozenTrial, start: int, end: int) -> float:
        """Return the best score of the steps after `start` up to `end`, with a sign that makes higher better."""
        return max(
            (self.sign * score for step, score in trial.intermediate_values.items() if start < step <= end),
            default=-np.inf,
        )


class TrialTakenError(PauseTraining):
    """Another process has taken the trial, because this one did not answer for a while."""


class OptunaReporter:
    """An observer that reports every epoch's score to Optuna and stops the training of a pruned trial."""

    def __init__(self, trial: Trial, folds: Sequence[Fold], epochs: int, is_lost: Callable[[], bool] = lambda: False):
        self.trial, self.folds, self.epochs, self.is_lost = trial, folds, epochs, is_lost

    def log_step(self, event: Step, images: int) -> None:
        """Pause if another process has taken the trial. Optuna compares trials by epoch, not by step."""
        if self.is_lost():
            raise TrialTakenError

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        """Report the validation score; raise StopTraining if the trial is pruned."""
        assert row.val_score is not None, "a trial trains folds that are validated"
        step = self.folds.index(fold) * self.epochs + row.epoch
        with warnings.catch_warnings(), _raise_if_ended():
            if len(self.trial.study.directions) > 1:  # Optuna compares one objective alone by epoch
                self.trial.set_user_attr("epoch", step)
                return
            warnings.simplefilter("ignore")  # a resumed fold repeats an epoch; Optuna keeps the first value
            self.trial.report(row.val_score, step)
        if self.trial.should_prune():
            raise StopTraining

    def log_end(self) -> None:
        """Ignore the end: the score of each epoch is reported."""

    def close(self) -> None:
        """Close the observer, which holds nothing."""


@contextlib.contextmanager
def _raise_if_ended() -> Iterator[None]:
    """Raise TrialTakenError where the trial has ended already, by another process."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError:
        raise TrialTakenError from None
