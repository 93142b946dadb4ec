from __future__ import annotations

import optuna
import pytest

from comp.observers.protocol import StopTraining
from comp.records.checkpoint import HistoryRow
from comp.study.pruning import FoldMedianPruner, OptunaReporter


def history_row(epoch: int, val_score: float) -> HistoryRow:
    return HistoryRow(epoch, epoch, 0.1, 1.0, 1.0, val_score, 1.0, 1.0, 0.1, 0.1)


def test_optuna_reporter_counts_epochs_through_folds_and_each_fold_prunes_alone():
    study = optuna.create_study(direction="maximize", pruner=FoldMedianPruner(2, True, min_trials=1, warmup_epochs=0))
    good = study.ask()
    for fold in (1, 3):
        reporter = OptunaReporter(good, [1, 3], epochs=2)  # each fold by another process, as after a crash
        for epoch in (1, 2):
            reporter.log_epoch(fold, history_row(epoch, 0.9))
    study.tell(good, 0.9)
    assert study.get_trials()[0].intermediate_values == {1: 0.9, 2: 0.9, 3: 0.9, 4: 0.9}
    with pytest.raises(StopTraining):
        OptunaReporter(study.ask(), [1, 3], epochs=2).log_epoch(1, history_row(1, 0.1))
    late = OptunaReporter(study.ask(), [1, 3], epochs=2)
    late.log_epoch(1, history_row(1, 0.95))
    with pytest.raises(StopTraining):  # Optuna's MedianPruner would remember the 0.95 of the first fold
        late.log_epoch(3, history_row(1, 0.1))


def test_fold_median_pruner_waits_for_trials_and_epochs_and_minimises_losses():
    study = optuna.create_study(direction="minimize", pruner=FoldMedianPruner(5, False, min_trials=2, warmup_epochs=1))

    def report_trial(*scores):
        trial = study.ask()
        for step, score in enumerate(scores, 1):
            trial.report(score, step)
        return trial

    first = report_trial(1.0, 0.5)
    assert not report_trial(9.0, 9.0).should_prune()
    study.tell(first, 0.5)
    study.tell(report_trial(1.0, 0.6), 0.6)
    assert not report_trial(9.0).should_prune()  # the first epoch never counts
    assert report_trial(9.0, 9.0).should_prune() and not report_trial(9.0, 0.1).should_prune()


@pytest.mark.parametrize(("scores", "is_pruned"), [((0.1, 0.1), True), ((0.1, 0.5), False), ((0.5, 0.1), False)])
def test_fold_median_pruner_compares_the_last_epoch_of_a_fold_with_its_other_epochs(scores, is_pruned):
    """A trial at the median is kept; so is one whose best epoch was an earlier one."""
    study = optuna.create_study(direction="maximize", pruner=FoldMedianPruner(2, True, min_trials=1, warmup_epochs=0))
    study.add_trial(optuna.trial.create_trial(value=0.5, intermediate_values={1: 0.3, 2: 0.5}))
    trial = study.ask()
    for step, score in enumerate(scores, 1):
        trial.report(score, step)
    assert trial.should_prune() == is_pruned
