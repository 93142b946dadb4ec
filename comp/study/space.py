"""What a study file says: a base config, fixed overrides, and the space to search.

base: ../deep_efficientnet.yaml
fixed: {data.size: 128, train.epochs: 20}
folds: 0..2
confirm: 3..4
space:
  optim.weight_decay: {low: 1e-6, high: 1e-1, log: true}      a range; of integers when both ends are
  augment.policy: [paper, heavy]                              a choice
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optuna.trial import Trial
from pydantic import Field, ValidationError

from comp import config
from comp.errors import UserError
from comp.schema import Config, Section
from comp.yaml12 import read_yaml


class Range(Section):
    low: int | float
    high: int | float
    log: bool = False


class StudyConfig(Section):
    name: str
    base: str
    fixed: dict[str, Any] = Field(default_factory=dict)
    folds: str | int = "0..2"
    confirm: str | int = "3..4"
    seed: int = 0
    space: dict[str, Range | list[Any]]

    def configure(self, values: dict[str, Any], name: str) -> Config:
        """The base config with these values of the space, as a run of the study."""
        configs = config.load(self.base, self._overrides(values), f"{self.name}/{name}")
        if len(configs) > 1:
            raise UserError(f"{self.base} lists several seeds; set one in the study: fixed: {{train.seed: 0}}")
        return configs[0]

    def corners(self) -> list[Config]:
        """The base with each end of each range and each choice in turn: whatever is wrong shows in one of them."""
        return [
            self.configure({key: value}, "check")
            for key, choice in self.space.items()
            for value in ((choice.low, choice.high) if isinstance(choice, Range) else choice)
        ]

    def tree(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same as a config file would say it."""
        return config.parse_overrides(self._overrides(values))

    def _overrides(self, values: dict[str, Any]) -> list[str]:
        return [f"{key}={json.dumps(value)}" for key, value in {**self.fixed, **values}.items()]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        return {key: _suggest(trial, key, choice) for key, choice in self.space.items()}


def read_study(path: Path) -> StudyConfig:
    try:
        study = StudyConfig.model_validate({"name": path.stem, **read_yaml(path)})
    except ValidationError as failure:
        first = failure.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
    study = study.model_copy(update={"base": str(path.parent / study.base)})
    for key, choice in study.space.items():
        if not choice or (isinstance(choice, Range) and not choice.low < choice.high):
            raise UserError(f"{path}: space.{key} is empty")
    study.corners()  # a wrong key or value fails now, not in trial 7
    return study


def _suggest(trial: Trial, key: str, choice: Range | list[Any]) -> Any:
    if isinstance(choice, list):
        return trial.suggest_categorical(key, choice)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(key, choice.low, choice.high, log=choice.log)
    return trial.suggest_float(key, float(choice.low), float(choice.high), log=choice.log)
