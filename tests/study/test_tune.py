from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import comp.launch.options
from comp import config
from comp.cli import run_main
from comp.files import read_json
from comp.training.train import DivergedError
from tests.conftest import SMALL

STUDY = """
# A small study.
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
    """A workspace with a study; `tune(trials)` returns (exit status, stdout, stderr)."""
    from comp.__main__ import main
    from comp.config import parse_overrides
    from comp.yaml12 import render_yaml

    Path("configs/small.yaml").write_text(render_yaml(parse_overrides(SMALL)))
    Path("configs/studies/little.yaml").write_text(STUDY)

    def call(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["comp", *arguments])
        capfd.readouterr()
        return run_main(main), *capfd.readouterr()

    assert call("folds", *SMALL)[0] == 0
    return lambda trials: call("tune", "configs/studies/little.yaml", "--trials", str(trials))


def test_tune_on_other_machines_cannot_measure_this_one(tune, run_cli):
    path = Path("configs/studies/little.yaml")
    path.write_text(path.read_text().replace("space:", "objectives: [score, ms_per_image]\npruner: none\nspace:"))
    status, _, err = run_cli("comp", "tune", str(path), "--launcher", "ray")
    assert status == 2 and err.startswith("error: ms_per_image is measured on this machine") and err.count("\n") == 1


def read_trials() -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend("runs/little/journal.log")
    return optuna.load_study(study_name="little", storage=optuna.storages.JournalStorage(backend)).get_trials()


def test_tune_resumes_after_a_crash_and_confirms_its_winner_on_other_folds(tune, monkeypatch):
    run_experiment = comp.launch.options.run_experiment
    calls = []

    def crash_in_second_trial(*arguments, **options):
        calls.append(arguments[0].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_experiment(*arguments, **options)

    monkeypatch.setattr(comp.launch.options, "run_experiment", crash_in_second_trial)
    assert tune(3)[0] == 130
    assert [trial.state for trial in read_trials()] == [TrialState.COMPLETE, TrialState.RUNNING]
    crashed_params = read_trials()[1].params

    monkeypatch.setattr(comp.launch.options, "run_experiment", run_experiment)
    status, out, err = tune(3)
    assert (status, err) == (0, "")
    ended = read_trials()
    assert [trial.number for trial in ended] == [0, 1, 2]  # a total of three, not three more
    assert ended[1].params == crashed_params  # the crashed trial was finished, not replaced
    assert len({trial.params["optim.lr"] for trial in ended}) == 3  # a restarted sampler does not repeat itself

    best = max((trial for trial in ended if trial.state == TrialState.COMPLETE), key=lambda trial: trial.value)
    run = Path(f"runs/little/trial_{best.number:04d}")
    per_fold = read_json(run / "metrics.json")["per_fold"]["last"]
    assert len(per_fold) == 3 and "optimistic" in out and "too few trials" in out and "on folds 2: winner" in out
    assert "noise" in out and read_json(Path("runs/little/base/metrics.json"))["folds_done"] == [2]

    winner = config.load("configs/studies/little.winner.yaml")[0]
    assert winner.optim.lr == best.params["optim.lr"] and winner.train.epochs == 1 and winner.data.size == 24
    assert tune(3)[0] == 0 and len(read_trials()) == 3


def test_tune_diverged_or_pruned_trial_does_not_end_the_study(tune, monkeypatch):
    from comp.observers.protocol import StopTraining

    run_experiment, calls = comp.launch.options.run_experiment, []

    def diverge_then_prune(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise DivergedError("the training loss is nan")
        if len(calls) == 2:
            raise StopTraining
        return run_experiment(*arguments, **options)

    monkeypatch.setattr(comp.launch.options, "run_experiment", diverge_then_prune)
    assert tune(3)[0] == 0
    assert [trial.state for trial in read_trials()] == [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("optim.lr:", "optim.lrr:"), "did you mean optim.lr"),
        (("high: 1e-2", "high: 1e-5"), "space.optim.lr is empty"),
        (("low: 1e-4", "low: 0"), "space.optim.lr has log: true and low: 0; set low above 0"),
        (("fixed: {", "fixed: {optim.lr: 0.1, "), "optim.lr is in fixed and in space"),
        ((STUDY[STUDY.index("space:") :], "space: {}"), "space is empty; name a key"),
        (("folds: 0..1", "folds: 0..1\nname: ../../elsewhere"), "cannot use '../../elsewhere"),
        (("base: ../small.yaml", "base: ../nothing.yaml"), "there is no config"),
        (("space:", "spaces:"), "space: field required"),
        (("[none, flips]", "[none, 3]"), "augment.policy must be a valid string"),
        (("[none, flips]", "[none, flisp]"), "did you mean flips"),
        (("confirm: 2", "confirm: 1"), "share a fold"),
        (("confirm: 2", "confirm: 7"), "there is no fold 7"),
    ],
)
def test_tune_wrong_study_is_one_error_before_any_trial(change, message, tune):
    path = Path("configs/studies/little.yaml")
    path.write_text(path.read_text().replace(*change))
    status, _, err = tune(1)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert not Path("runs/little").exists()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("configs/studies/little.yaml", ("1e-2", "1e-1")),
        ("configs/studies/little.yaml", ("train.epochs: 1", "train.epochs: 3")),
        ("configs/small.yaml", ("batch: 8", "batch: 4")),
        ("configs/deep_efficientnet.yaml", ("# ", "#  ")),  # a comment
    ],
)
def test_tune_changed_space_or_base_is_refused(tune, monkeypatch, file, change):
    """The trials of a study are compared with each other, so all of them have one base."""

    def diverge(*arguments, **options):
        raise DivergedError("the training loss is nan")

    monkeypatch.setattr(comp.launch.options, "run_experiment", diverge)
    tune(1)
    path = Path(file)
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    status, _, err = tune(2)
    if file == "configs/deep_efficientnet.yaml":
        assert "no trial of little is complete" in err and len(read_trials()) == 2
    else:
        assert status == 2 and "another base or space" in err and len(read_trials()) == 1
