"""Study files: a base config, fixed overrides, the space to search, and how it is searched.

base: ../deep_efficientnet.yaml
fixed: {data.size: 128, train.epochs: 20}
folds: 0..2
confirm: 3..4
sampler: tpe
pruner: fold_median
enqueue: [base, {optim.weight_decay: 0.01}]
space:
  optim.weight_decay: {low: 1e-6, high: 1e-1, log: true}      a range; of integers if both ends are
  augment.policy: [paper, heavy]                              a list of choices
  recipe:                                                     names of sub-configs
    choices:
      plain: {}
      mixed: {augment.mixup: 0.2}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from comp import config as configs
from comp.errors import UserError
from comp.schema import Config, Section
from comp.study.space import (
    Choices,
    Dimension,
    ParameterValues,
    as_dimension,
    check_space,
    edge_values,
    expand,
    format_overrides,
    format_value,
    is_active,
)
from comp.yaml12 import read_yaml


class Sampler(Section):
    """The sampler of a study. `multivariate` and `group` are options of tpe."""

    name: Literal["tpe", "cmaes", "qmc", "random", "grid"] = "tpe"
    multivariate: bool = False
    group: bool = False


def _by_name(content: object) -> object:
    return {"name": content} if isinstance(content, str) else content


class StudyConfig(Section):
    """The content of a study file."""

    name: str
    base: str
    fixed: dict[str, Any] = Field(default_factory=dict)
    folds: str | int = "0..2"  # folds that trials are compared on
    confirm: str | int = "3..4"  # folds that the winner is compared with the base on
    seed: int = 0
    space: dict[str, Dimension]
    sampler: Annotated[Sampler, BeforeValidator(_by_name)] = Sampler()
    pruner: Literal["fold_median", "hyperband", "none"] = "fold_median"
    enqueue: list[Literal["base"] | dict[str, Any]] = Field(default_factory=list)  # the first trials
    warm_start: str | None = None  # another study, whose best points come next
    objectives: tuple[Literal["score", "ms_per_image"], ...] = Field(("score",), strict=False)
    finalists: int = Field(1, ge=1)  # the best trials, trained again with new seeds if there are several
    finalist_seeds: int = Field(2, ge=1)

    @property
    def is_multi_objective(self) -> bool:
        """A score is traded against the time of a prediction, so there is no single best trial."""
        return len(self.objectives) > 1

    def make_config(self, values: ParameterValues, name: str, further: Mapping[str, object] | None = None) -> Config:
        """Return the base config with these values of the space and further keys, as the run `name` of the study."""
        overrides = [*self.overrides(values), *format_overrides(further or {})]
        configs_per_seed = configs.load(self.base, overrides, f"{self.name}/{name}")
        if len(configs_per_seed) > 1:
            raise UserError(f"{self.base} lists several seeds; set one in the study: fixed: {{train.seed: 0}}")
        return configs_per_seed[0]

    def edge_configs(self) -> list[Config]:
        """Return the base config with each choice and each end of a range, one at a time.

        If all of these configs are valid, so is every config of the space.
        """
        return [self.make_config(values, "check") for values in edge_values(self.space)]

    def overrides(self, values: ParameterValues) -> list[str]:
        """Return the fixed overrides and these values as `key=value`."""
        return format_overrides({**self.fixed, **expand(self.space, values)})

    def suggest(self, trial: Any) -> dict[str, object]:
        """Return the values that Optuna suggests for a trial; a key whose condition does not hold has none."""
        values: dict[str, object] = {}
        for key, choices in self.space.items():
            dimension = as_dimension(choices)
            if is_active(dimension, values):
                values[key] = dimension.suggest(trial, key)
        return values

    def first_points(self) -> list[dict[str, object]]:
        """Return the values of the trials that are given by hand."""
        return [self._base_point() if point == "base" else self._checked_point(point) for point in self.enqueue]

    def _base_point(self) -> dict[str, object]:
        """Return the values that the base config has for the keys of the space."""
        identity = self.make_config({}, "base").identity()
        point: dict[str, object] = {}
        for key, choices in self.space.items():
            dimension = as_dimension(choices)
            if not is_active(dimension, point):
                continue
            value = identity.get(key)
            if isinstance(dimension, Choices) and isinstance(dimension.choices, dict):
                value = dimension.find_name(identity)
            if not dimension.contains(value):
                raise UserError(
                    f"enqueue: the base has {key}={format_value(value)}, which space.{key} does not contain; extend "
                    f"it, or name values instead of base"
                )
            point[key] = value
        return point

    def _checked_point(self, point: ParameterValues) -> dict[str, object]:
        for key, value in point.items():
            if key not in self.space or not as_dimension(self.space[key]).contains(value):
                raise UserError(f"enqueue: space does not contain {key}={format_value(value)}; extend it, or change it")
        return dict(point)


def read_study(path: Path) -> StudyConfig:
    """Return a study file's content, checked with every choice and end of a range, so that no later trial fails."""
    try:
        study = StudyConfig.model_validate({"name": path.stem, **read_yaml(path)})
    except ValidationError as failure:
        error = failure.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, error['loc']))}: {error['msg'].lower()}") from None
    study = study.model_copy(update={"base": str(path.parent / study.base)})
    try:
        check_space(study.space, study.fixed)
        _check_objectives(study)
        study.first_points()
    except UserError as error_in_space:
        raise UserError(f"{path}: {error_in_space}") from None
    study.edge_configs()
    return study


def _check_objectives(study: StudyConfig) -> None:
    if study.objectives not in (("score",), ("score", "ms_per_image")):
        raise UserError("objectives: write [score] or [score, ms_per_image]")
    if not study.is_multi_objective:
        return
    if study.finalists > 1:
        raise UserError("finalists: several objectives have no winner; remove finalists")
    if study.pruner != "none":
        raise UserError("pruner: trials of several objectives are not pruned; set pruner: none")
    if study.sampler.name == "cmaes":
        raise UserError("sampler: cmaes has one objective; use tpe")
