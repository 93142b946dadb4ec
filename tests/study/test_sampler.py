"""Samplers, conditions, sub-configs and first points: which values the trials of a study get."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from comp.config import parse_overrides
from comp.errors import UserError
from comp.study.sampler import check_sampler, grid_points, make_pruner
from comp.study.search import Search
from comp.study.space import check_space
from comp.study.stored import best_points
from comp.study.study_file import StudyConfig, read_study
from tests.conftest import REPO_ROOT

LR = {"low": 1e-4, "high": 1e-2, "log": True}


def study_of(space: dict, **options) -> StudyConfig:
    study = StudyConfig(name="x", base=str(REPO_ROOT / "configs/demo.yaml"), space=space, **options)
    check_space(study.space, study.fixed)
    check_sampler(study)
    return study


def draw(study: StudyConfig, count: int, processes: int = 1) -> list[dict]:
    """Return the values of trials that several processes draw in turn."""
    points = [*study.first_points(), *grid_points(study)]
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="x", direction="maximize")
    values = []
    for number in range(count):
        if number % processes == 0:  # a new process: it remembers nothing
            search = Search(study, count, optuna.load_study(study_name="x", storage=storage), None, "", 1, points)
        trial = search.create_trial(number)
        values.append(dict(search.draw(trial)))
        search.optuna_study.tell(trial, float(number))
    return values


@pytest.mark.parametrize(
    "sampler", ["tpe", {"name": "tpe", "multivariate": True, "group": True}, "random", "qmc", "cmaes", "grid"]
)
def test_samplers_draw_values_that_do_not_depend_on_the_processes(sampler):
    steps = {"low": 0.0, "high": 0.5, "step": 0.125}
    space = {"model.dropout": steps, "data.size": {"low": 64, "high": 128, "step": 32}, "augment.policy": ["a", "b"]}
    study = study_of(space, sampler=sampler)
    values = draw(study, 14)
    assert values == draw(study, 14, processes=3)
    assert all(value["model.dropout"] in (0, 0.125, 0.25, 0.375, 0.5) for value in values)
    assert {value["data.size"] for value in values} == {64, 96, 128}
    if sampler == "grid":
        assert len({tuple(value.values()) for value in grid_points(study)}) == 5 * 3 * 2


def test_keys_under_a_condition_have_values_only_where_it_holds():
    study = study_of(
        {"optim.name": ["adamw", "sgd"], "optim.momentum": {"low": 0.5, "high": 0.9, "when": {"optim.name": "sgd"}}},
        sampler={"name": "tpe", "multivariate": True, "group": True},
    )
    values = draw(study, 12)
    assert {len(value) for value in values} == {1, 2}
    assert all(("optim.momentum" in value) == (value["optim.name"] == "sgd") for value in values)


def test_sub_config_sets_its_keys_and_is_named_in_the_values():
    recipes = {"plain": {}, "mixed": {"augment.mixup": 0.2, "train.epochs": 5}}
    study = study_of({"recipe": {"choices": recipes}, "optim.lr": LR}, enqueue=["base", {"recipe": "mixed"}])
    first, second = draw(study, 2)
    assert first == {"recipe": "plain", "optim.lr": study.make_config({}, "base").optim.lr}
    assert second["recipe"] == "mixed"
    overrides = parse_overrides(study.overrides(second))
    assert overrides["augment"]["mixup"] == 0.2 and overrides["train"]["epochs"] == 5 and "recipe" not in overrides
    assert study.make_config(second, "trial").train.epochs == 5
    assert 5 in {config.train.epochs for config in study.edge_configs()}


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({"optim.lr": LR}, {"sampler": "grid"}, "grid needs values of space.optim.lr"),
        ({"optim.lr": {**LR, "step": 0.1}}, {}, "has log: true and step"),
        ({"data.size": {"low": 64, "high": 100, "step": 32}}, {}, "does not lead from low to high"),
        ({"a": {"choices": [1], "when": {"b": 1}}, "b": [1]}, {}, "not a key above it"),
        ({"b": [1], "a": {"choices": [1], "when": {"b": 2}}}, {}, "b is never 2"),
        ({"b": [1], "a": {"choices": [1], "when": {"b": 1}}}, {"sampler": "qmc"}, "qmc cannot draw"),
        ({"optim.lr": LR, "r": {"choices": {"x": {"optim.lr": 1}}}}, {}, "both set optim.lr"),
        ({"optim.lr": LR}, {"sampler": {"name": "random", "group": True}}, "options of tpe"),
        ({"optim.lr": LR}, {"enqueue": [{"optim.lr": 5.0}]}, "does not contain optim.lr=5"),
        ({"data.size": [7, 8]}, {"enqueue": ["base"]}, "the base has data.size="),
    ],
)
def test_wrong_space_is_one_error(space, options, message):
    with pytest.raises(UserError, match=message):
        study_of(space, **options).first_points()


def test_warm_start_takes_the_best_points_that_the_space_contains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/old").mkdir(parents=True)
    backend = optuna.storages.journal.JournalFileBackend("runs/old/journal.log")
    old = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name="old", direction="maximize")
    for number, dropout in enumerate((0.1, 0.2, 0.9, 0.3)):
        old.enqueue_trial({"model.dropout": dropout, "gone": 1})
        trial = old.ask()
        trial.suggest_float("model.dropout", 0, 1)
        trial.suggest_int("gone", 0, 1)
        old.tell(trial, float(number))
    study = study_of({"model.dropout": {"low": 0.0, "high": 0.5}}, warm_start="old")
    assert [point["model.dropout"] for point in best_points(study, None)] == [0.3, 0.2, 0.1]
    assert [path.name for path in Path("runs/old").iterdir()] == ["journal.log"]
    with pytest.raises(UserError, match="no trial of older is begun"):
        best_points(study.model_copy(update={"warm_start": "older"}), None)


@pytest.mark.parametrize(("name", "kind"), [("hyperband", "HyperbandPruner"), ("none", "NopPruner")])
def test_pruners_by_name(name, kind):
    assert type(make_pruner(study_of({"optim.lr": LR}, pruner=name), 3, True)).__name__ == kind


def test_every_study_of_the_repository_is_valid(monkeypatch):
    monkeypatch.chdir(REPO_ROOT)
    assert all(read_study(path).space for path in Path("configs/studies").glob("*.yaml") if ".winner" not in path.name)
