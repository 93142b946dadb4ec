from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import comp.training.train
from comp import config
from comp.cli import run_main
from comp.files import read_json
from tests.conftest import SMALL

STUDY = """
# A study small enough to test with.
base: ../small.yaml
fixed: {train.epochs: 1}
folds: 0..1
confirm: 2
space:
  optim.lr: {low: 1e-4, high: 1e-2, log: true}
  model.dropout: {low: 0.0, high: 0.5}
  augment.policy: [none, flips]
"""


@pytest.fixture
def tune(workspace, monkeypatch, capfd):
    """A workplace with a study; `tune(trials)` -> (exit status, stdout, stderr)."""
    from comp.__main__ import main
    from comp.config import parse_overrides
    from comp.yaml12 import render_yaml

    Path("configs/small.yaml").write_text(render_yaml(parse_overrides(SMALL)))
    Path("configs/studies/little.yaml").write_text(STUDY)

    def call(*words: str):
        monkeypatch.setattr(sys, "argv", ["comp", *words])
        capfd.readouterr()
        return run_main(main), *capfd.readouterr()

    assert call("folds", *SMALL)[0] == 0
    return lambda trials: call("tune", "configs/studies/little.yaml", "--trials", str(trials))


def trials() -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend("runs/little/journal.log")
    return optuna.load_study(study_name="little", storage=optuna.storages.JournalStorage(backend)).get_trials()


def test_a_study_goes_on_after_a_crash_and_confirms_its_winner_elsewhere(tune, monkeypatch):
    real = comp.training.train.run_experiment
    calls = []

    def dies_in_the_second_trial(*arguments, **keywords):
        calls.append(arguments[0].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    monkeypatch.setattr(comp.training.train, "run_experiment", dies_in_the_second_trial)
    assert tune(3)[0] == 130
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE, TrialState.RUNNING]
    drawn = trials()[1].params

    monkeypatch.setattr(comp.training.train, "run_experiment", real)
    status, out, err = tune(3)
    assert (status, err) == (0, "")
    ended = trials()
    assert [trial.number for trial in ended] == [0, 1, 2]  # the total wanted, not three more
    assert ended[1].params == drawn  # the crashed trial was finished, not replaced
    assert len({trial.params["optim.lr"] for trial in ended}) == 3  # a restarted sampler does not repeat itself

    best = max((trial for trial in ended if trial.state == TrialState.COMPLETE), key=lambda trial: trial.value)
    run = Path(f"runs/little/trial_{best.number:04d}")
    per_fold = read_json(run / "metrics.json")["per_fold"]["last"]
    assert len(per_fold) == 3 and "optimistic" in out and "too few trials" in out and "on folds 2: winner" in out
    assert "noise" in out and read_json(Path("runs/little/base/metrics.json"))["folds_done"] == [2]

    winner = config.load("configs/studies/little.winner.yaml")[0]
    assert winner.optim.lr == best.params["optim.lr"] and winner.train.epochs == 1 and winner.data.size == 24
    again = tune(3)
    assert again[0] == 0 and len(trials()) == 3


def test_a_trial_that_diverges_or_is_pruned_does_not_end_the_study(tune, monkeypatch):
    from comp.observers.protocol import StopTraining
    from comp.training.train import DivergedError

    real, calls = comp.training.train.run_experiment, []

    def stumbles(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 1:
            raise DivergedError("the training loss is nan")
        if len(calls) == 2:
            raise StopTraining
        return real(*arguments, **keywords)

    monkeypatch.setattr(comp.training.train, "run_experiment", stumbles)
    assert tune(3)[0] == 0
    assert [trial.state for trial in trials()] == [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]


def test_epochs_are_reported_fold_after_fold_and_each_fold_prunes_for_itself():
    from comp.observers.protocol import StopTraining
    from comp.study.tune import FoldMedian, OptunaReporter

    study = optuna.create_study(direction="maximize", pruner=FoldMedian(2, True, startup=1, warmup=0))
    good = study.ask()
    for fold in (1, 3):
        reporter = OptunaReporter(good, [1, 3], epochs=2)  # each fold by another process, as after a crash
        for epoch in (1, 2):
            reporter.log_epoch(fold, {"epoch": epoch, "val_score": 0.9})
    study.tell(good, 0.9)
    assert study.get_trials()[0].intermediate_values == {1: 0.9, 2: 0.9, 3: 0.9, 4: 0.9}
    with pytest.raises(StopTraining):
        OptunaReporter(study.ask(), [1, 3], epochs=2).log_epoch(1, {"epoch": 1, "val_score": 0.1})
    late = OptunaReporter(study.ask(), [1, 3], epochs=2)
    late.log_epoch(1, {"epoch": 1, "val_score": 0.95})
    with pytest.raises(StopTraining):  # Optuna's MedianPruner would remember the 0.95 of the first fold
        late.log_epoch(3, {"epoch": 1, "val_score": 0.1})


def test_pruning_waits_for_trials_and_epochs_and_knows_losses():
    from comp.study.tune import FoldMedian

    study = optuna.create_study(direction="minimize", pruner=FoldMedian(5, False, startup=2, warmup=1))

    def trial(*values):
        made = study.ask()
        for step, value in enumerate(values, 1):
            made.report(value, step)
        return made

    first = trial(1.0, 0.5)
    assert not trial(9.0, 9.0).should_prune()
    study.tell(first, 0.5)
    study.tell(trial(1.0, 0.6), 0.6)
    assert not trial(9.0).should_prune()  # the first epoch never counts
    assert trial(9.0, 9.0).should_prune() and not trial(9.0, 0.1).should_prune()


def test_importances_name_the_key_that_matters_once_there_are_trials_enough():
    from comp.study.tune import importances

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("idle", 0, 1), 9)
    assert importances(study) == {}
    study.optimize(lambda trial: trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("idle", 0, 1), 20)
    shares = importances(study)
    assert shares["matters"] > 0.8 and sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("optim.lr:", "optim.lrr:"), "did you mean optim.lr"),
        (("high: 1e-2", "high: 1e-5"), "space.optim.lr is empty"),
        (("base: ../small.yaml", "base: ../nothing.yaml"), "there is no config"),
        (("space:", "spaces:"), "space: field required"),
        (("[none, flips]", "[none, 3]"), "augment.policy must be a valid string"),
        (("[none, flips]", "[none, flisp]"), "did you mean flips"),
        (("confirm: 2", "confirm: 1"), "share a fold"),
        (("confirm: 2", "confirm: 7"), "there is no fold 7"),
    ],
)
def test_a_wrong_study_is_one_line_before_anything_runs(change, words, tune):
    path = Path("configs/studies/little.yaml")
    path.write_text(path.read_text().replace(*change))
    status, _, err = tune(1)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert not Path("runs/little").exists()


def test_a_changed_space_is_refused(tune):
    assert tune(1)[0] == 0
    path = Path("configs/studies/little.yaml")
    path.write_text(path.read_text().replace("1e-2", "1e-1"))
    status, _, err = tune(2)
    assert status == 2 and "another base or space" in err
