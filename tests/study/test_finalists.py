"""The end of a study: finalists with new seeds, and a front where a score is traded against time."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.study import finalists, trial
from comp.study.trial import TrialOutcome
from tests.study.test_tune import STUDY, tune  # noqa: F401  a fixture


@pytest.fixture
def fake_training(monkeypatch) -> dict[str, int]:
    """Trainings of no time: trial 2 has the best score by luck, and trial 1 the best one with other seeds."""
    scores = {"trial_0000": 0.5, "trial_0001": 0.7, "trial_0002": 0.8}
    trained: dict[str, int] = {}

    def train(study, config, trainer, observers):
        name = config.name.partition("/")[2]
        trained[name] = config.train.seed
        score = scores.get(name) or {"final_0001": 0.72, "final_0002": 0.6}[name.rpartition("-")[0]]
        return TrialOutcome("complete", (score, 10 * score)[: len(study.objectives)])

    monkeypatch.setattr(trial, "train_trial", train)
    monkeypatch.setattr(finalists, "train_trial", train)
    monkeypatch.setattr("comp.study.confirm._compare_with_base", lambda _, best, trials, __: f"{best.number}/{trials}")
    return trained


def test_winner_is_the_best_of_the_finalists_with_new_seeds(tune, fake_training):  # noqa: F811
    path = Path("configs/studies/little.yaml")
    path.write_text(path.read_text().replace("space:", "finalists: 2\nfinalist_seeds: 2\nspace:"))
    status, out, err = tune(3)
    assert (status, err) == (0, "") and "\n1/3\n" in out
    assert "finalist 2: 0.8000 when it was chosen, with new seeds mean 0.6000 of 0.6000, 0.6000" in out
    assert "trial 1:" in Path("configs/studies/little.winner.yaml").read_text()
    seed = fake_training["trial_0001"]
    finals = {name: value for name, value in fake_training.items() if name.startswith("final")}
    assert finals == {f"final_000{number}-{new}": seed + new for number in (1, 2) for new in (1, 2)}
    fake_training.clear()
    assert tune(3)[0] == 0 and not fake_training  # everything was kept


def test_several_objectives_have_a_front_and_no_winner(tune, fake_training):  # noqa: F811
    path = Path("configs/studies/little.yaml")
    path.write_text(STUDY.replace("space:", "objectives: [score, ms_per_image]\npruner: none\nspace:"))
    status, out, err = tune(3)
    assert (status, err) == (0, "") and "no trial is better than these 3 in both" in out
    assert not Path("configs/studies/little.winner.yaml").exists() and Path("runs/little/figures/front.png").is_file()
    path.write_text(STUDY.replace("space:", "objectives: [score, ms_per_image]\nspace:"))
    status, _, err = tune(3)
    assert status == 2 and "set pruner: none" in err and err.count("\n") == 1
