"""Study files: a base config, fixed overrides, and the space to search.

base: ../deep_efficientnet.yaml
fixed: {data.size: 128, train.epochs: 20}
folds: 0..2
confirm: 3..4
space:
  optim.weight_decay: {low: 1e-6, high: 1e-1, log: true}      a range; of integers if both ends are
  augment.policy: [paper, heavy]                              a list of choices
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import Trial
from pydantic import Field, ValidationError

from comp import config as configs
from comp.errors import UserError
from comp.schema import Config, Section
from comp.yaml12 import read_yaml

ParameterValues = Mapping[str, object]  # config key -> value


class Range(Section):
    """A range of numbers with its ends; `log` samples their logarithm uniformly."""

    low: int | float
    high: int | float
    log: bool = False


class StudyConfig(Section):
    """The content of a study file."""

    name: str
    base: str
    fixed: dict[str, Any] = Field(default_factory=dict)
    folds: str | int = "0..2"  # folds that trials are compared on
    confirm: str | int = "3..4"  # folds that the winner is compared with the base on
    seed: int = 0
    space: dict[str, Range | list[Any]]

    def make_config(self, values: ParameterValues, name: str) -> Config:
        """Return the base config with these values of the space, as the run `name` of the study."""
        configs_per_seed = configs.load(self.base, self.overrides(values), f"{self.name}/{name}")
        if len(configs_per_seed) > 1:
            raise UserError(f"{self.base} lists several seeds; set one in the study: fixed: {{train.seed: 0}}")
        return configs_per_seed[0]

    def edge_configs(self) -> list[Config]:
        """Return the base config with each choice and each end of a range, one at a time.

        If all of these configs are valid, so is every config of the space.
        """
        return [
            self.make_config({key: value}, "check")
            for key, choices in self.space.items()
            for value in ((choices.low, choices.high) if isinstance(choices, Range) else choices)
        ]

    def overrides(self, values: ParameterValues) -> list[str]:
        """Return the fixed overrides and these values as `key=value`."""
        return [f"{key}={json.dumps(value)}" for key, value in {**self.fixed, **values}.items()]

    def suggest(self, trial: Trial) -> dict[str, object]:
        """Return the values that Optuna suggests for a trial."""
        return {key: _suggest(trial, key, choices) for key, choices in self.space.items()}


def read_study(path: Path) -> StudyConfig:
    """Return a study file's content, checked with every choice and end of a range, so that no later trial fails."""
    try:
        study = StudyConfig.model_validate({"name": path.stem, **read_yaml(path)})
    except ValidationError as failure:
        error = failure.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, error['loc']))}: {error['msg'].lower()}") from None
    study = study.model_copy(update={"base": str(path.parent / study.base)})
    for key, choices in study.space.items():
        if not choices or (isinstance(choices, Range) and not choices.low < choices.high):
            raise UserError(f"{path}: space.{key} is empty; list choices, or set low below high")
        if isinstance(choices, Range) and choices.log and choices.low <= 0:
            raise UserError(f"{path}: space.{key} has log: true and low: {choices.low:g}; set low above 0")
        if key in study.fixed:
            raise UserError(f"{path}: {key} is in fixed and in space; remove it from one of them")
    if not study.space:
        raise UserError(f"{path}: space is empty; name a key and its choices, or its low and high")
    study.edge_configs()
    return study


def format_value(value: object) -> str:
    """Return a value of the space with at most four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _suggest(trial: Trial, key: str, choices: Range | list[Any]) -> object:
    if isinstance(choices, list):
        return trial.suggest_categorical(key, choices)
    if isinstance(choices.low, int) and isinstance(choices.high, int):
        return trial.suggest_int(key, choices.low, choices.high, log=choices.log)
    return trial.suggest_float(key, float(choices.low), float(choices.high), log=choices.log)
