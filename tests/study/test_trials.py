"""Trials that end badly: memory that is full, processes that die, Ctrl-C."""

from __future__ import annotations

import contextlib

import optuna
import pytest
import torch
from optuna.trial import TrialState

from comp.launch.options import Trainer
from comp.study import search as searching
from comp.study import trials as running
from comp.study.study_file import StudyConfig
from comp.study.trial import TrialOutcome, run_trial
from tests.conftest import REPO_ROOT
from tests.study.test_database import NO_TRAINER, open_little


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError()])
def test_run_trial_full_memory_fails_the_trial_with_a_note(monkeypatch, error):
    study = StudyConfig(name="x", base=str(REPO_ROOT / "configs/demo.yaml"), space={"optim.lr": [0.1]})

    def fail(*_, **__):
        raise error

    trainer = Trainer(fail, torch.device("cpu"))
    assert run_trial(study, 0, {"optim.lr": 0.1}, trainer) == TrialOutcome("failed", note="the memory of cpu is full")
    error = ValueError("a mistake in the code")
    with pytest.raises(ValueError, match="a mistake"):
        run_trial(study, 0, {"optim.lr": 0.1}, trainer)


@pytest.mark.parametrize(("is_death", "state"), [(True, TrialState.FAIL), (False, TrialState.COMPLETE)])
def test_trial_whose_process_dies_three_times_fails_and_ctrl_c_is_no_death(tmp_path, monkeypatch, is_death, state):
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    attempts = []

    def train(study, number, values, *_):
        attempts.append(number)
        if attempts.count(0) < 5 and number == 0:
            raise SystemError if is_death else KeyboardInterrupt  # the first as a process that ends without a word
        return TrialOutcome("complete", (values["x"],))

    monkeypatch.setattr(searching, "run_trial", train)
    for _ in range(5):
        with contextlib.suppress(SystemError, KeyboardInterrupt):
            running.run_trials(open_little(None, 2), NO_TRAINER)
    first, second = open_little(None, 2).optuna_study.get_trials()
    assert (first.state, second.state) == (state, TrialState.COMPLETE)
    assert attempts.count(0) == (3 if is_death else 5)
    assert ("its process died 3 times" in first.user_attrs.get("note", "")) == is_death
