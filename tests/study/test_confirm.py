from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import torch

from comp.launch.options import Trainer
from comp.study import confirm
from comp.study.importance import parameter_importances
from comp.tasks import single_label
from tests.predictions import read_table


def test_parameter_importances_find_the_key_that_matters_with_enough_trials():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("idle", 0, 1), 9)
    assert parameter_importances(study) == {}
    study.optimize(lambda trial: trial.suggest_float("matters", 0, 1) + 0 * trial.suggest_float("idle", 0, 1), 20)
    importances = parameter_importances(study)
    assert importances["matters"] > 0.8 and sum(importances.values()) == pytest.approx(1)


@pytest.mark.parametrize(("keep", "scores"), [("best", (1.0, 0.75)), ("last", (0.25, 0.5))])
def test_compare_with_base_joins_images_of_the_kept_epoch(tmp_path, monkeypatch, keep, scores):
    """The runs list their images in other orders; a gain is the winner's score minus the base's."""
    images = [f"img_{number}.jpg" for number in range(40)]
    shares = {"winner": {"best": 1.0, "last": 0.25}, "base": {"best": 0.75, "last": 0.5}}
    for run, epochs in shares.items():
        for (epoch, share), fold in itertools.product(epochs.items(), (3, 4)):
            rows = []
            for number in range(20 * (fold - 3), 20 * (fold - 2)):
                label, is_correct = number % 2, number % 20 < 20 * share
                probability = 0.9 if is_correct == (label == 1) else 0.1
                rows.append(f"{images[number]},{'ab'[label]},{fold},{1 - probability:g},{probability:g}\n")
            path = tmp_path / run / f"fold{fold}" / f"{epoch}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("image,label,fold,a,b\n" + "".join(rows[:: -1 if run == "base" else 1]))

    def read_run(path: Path) -> SimpleNamespace:
        directory = tmp_path / {"trial_0007": "winner", "base": "base"}[path.name]
        config = SimpleNamespace(train=SimpleNamespace(keep=keep))
        return SimpleNamespace(config=config, task=single_label("ab"), classes=["a", "b"], path=directory)

    def read_validation(run: SimpleNamespace, fold: int, epoch: str) -> pd.DataFrame:
        return read_table(run.path / f"fold{fold}" / f"{epoch}.csv", run.classes)

    trained = []
    monkeypatch.setattr(confirm, "read_run", read_run)
    monkeypatch.setattr(confirm, "read_validation", read_validation)
    trainer = Trainer(lambda config, fold: trained.append((config.name, fold)), torch.device("cpu"))
    study = SimpleNamespace(
        confirm="3..4",
        make_config=lambda values, name: SimpleNamespace(
            name=f"s/{name}", train=SimpleNamespace(metric="accuracy"), values=values
        ),
    )
    line = confirm._compare_with_base(study, SimpleNamespace(params={"optim.lr": 0.1}, number=7), 20, trainer)
    winner, base = scores
    assert (
        f"winner, the best of 20 trials, {winner:.4f}, base {base:.4f}, gain {winner - base:+.4f} [" in line
        and "on 40 images" in line
    )
    assert trained == [("s/trial_0007", "3..4"), ("s/base", "3..4")]
