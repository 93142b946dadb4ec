"""The keys that a study searches: ranges, choices, and whole sub-configs, each also under a condition."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from optuna.trial import Trial

from comp.errors import UserError
from comp.schema_types import Section

ParameterValues = Mapping[str, object]  # key of the space -> value


class Range(Section):
    """A range of numbers with its ends; of integers if both ends are. `log` samples their logarithm uniformly."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    when: dict[str, Any] | None = None  # another key of the space -> its value, or a list of values

    @property
    def is_integer(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def steps(self) -> list[Any] | None:
        """Return every value of a range with steps; None for a continuous one."""
        step = self.step or (1 if self.is_integer and not self.log else None)
        if step is None:
            return None
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + index * step for index in range(count)]

    def find_problem(self) -> str | None:
        """Return why no value can be drawn, or None."""
        if not self.low < self.high:
            return "is empty; list choices, or set low below high"
        if self.log and self.low <= 0:
            return f"has log: true and low: {self.low:g}; set low above 0"
        if self.step is not None and self.log:
            return "has log: true and step; remove one of them"
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            return f"has step: {self.step:g}; set it above 0, and to at most high - low"
        if self.step is not None and not math.isclose(self.steps()[-1], self.high):  # type: ignore[index]
            return f"has step: {self.step:g}, which does not lead from low to high; change high"
        return None

    def suggest(self, trial: Trial, key: str) -> object:
        if self.is_integer:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(key, low, high, step=step, log=self.log)
        return trial.suggest_float(key, float(self.low), float(self.high), step=self.step, log=self.log)

    def contains(self, value: object) -> bool:
        """Return whether a value can be drawn."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = self.steps()
        return steps is None or any(math.isclose(value, step) for step in steps)


class Choices(Section):
    """A list of values, or names of sub-configs: a map of overrides for each."""

    choices: list[Any] | dict[str, dict[str, Any]]
    when: dict[str, Any] | None = None

    @property
    def ends(self) -> tuple[Any, ...]:
        return tuple(self.choices)

    def steps(self) -> list[Any] | None:
        """Return every choice."""
        return list(self.choices)

    def find_problem(self) -> str | None:
        """Return why no value can be drawn, or None."""
        return None if self.choices else "is empty; list choices, or set low below high"

    def suggest(self, trial: Trial, key: str) -> object:
        return trial.suggest_categorical(key, list(self.choices))

    def contains(self, value: object) -> bool:
        """Return whether a value can be drawn."""
        return value in list(self.choices)

    def find_name(self, config: Mapping[str, object]) -> str | None:
        """Return the sub-config that a config has already, such as an empty one."""
        if isinstance(self.choices, list):
            return None
        names = (
            name
            for name, overrides in self.choices.items()
            if all(config.get(key) == value for key, value in overrides.items())
        )
        return next(names, None)


Dimension = Range | Choices | list[Any]


def as_dimension(choices: Dimension) -> Range | Choices:
    """Return a key's choices; a plain list is the short form."""
    return Choices(choices=choices) if isinstance(choices, list) else choices


def is_active(dimension: Range | Choices, values: ParameterValues) -> bool:
    """Return whether the condition of a key holds for the values of the keys before it."""
    return all(
        key in values and values[key] in (required if isinstance(required, list) else [required])
        for key, required in (dimension.when or {}).items()
    )


def expand(space: Mapping[str, Dimension], values: ParameterValues) -> dict[str, object]:
    """Return the config keys that values of the space set; a sub-config is replaced by its keys."""
    overrides: dict[str, object] = {}
    for key, value in values.items():
        dimension = as_dimension(space[key])
        if isinstance(dimension, Choices) and isinstance(dimension.choices, dict):
            overrides |= dimension.choices[str(value)]
        else:
            overrides[key] = value
    return overrides


def edge_values(space: Mapping[str, Dimension]) -> list[dict[str, object]]:
    """Return each choice and each end of a range, one at a time, with what its condition needs."""

    def needed(dimension: Range | Choices) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, required in (dimension.when or {}).items():
            values |= needed(as_dimension(space[key]))
            values[key] = required[0] if isinstance(required, list) else required
        return values

    dimensions = {key: as_dimension(choices) for key, choices in space.items()}
    return [{**needed(dimension), key: value} for key, dimension in dimensions.items() for value in dimension.ends]


def check_space(space: Mapping[str, Dimension], fixed: Mapping[str, object]) -> None:
    """Refuse a key without values, one that is set twice, and a condition that never holds."""
    if not space:
        raise UserError("space is empty; name a key and its choices, or its low and high")
    owners: dict[str, str] = {}
    for key, choices in space.items():
        dimension = as_dimension(choices)
        if problem := dimension.find_problem():
            raise UserError(f"space.{key} {problem}")
        names = [key]
        if isinstance(dimension, Choices) and isinstance(dimension.choices, dict):
            names = sorted({name for overrides in dimension.choices.values() for name in overrides})
        for name in names:
            if name in fixed:
                raise UserError(f"{name} is in fixed and in space; remove it from one of them")
            if name in owners and owners[name] != key:
                raise UserError(f"space.{owners[name]} and space.{key} both set {name}; remove it from one of them")
            owners[name] = key
        _check_condition(space, key, dimension)


def _check_condition(space: Mapping[str, Dimension], key: str, dimension: Range | Choices) -> None:
    earlier = list(space)[: list(space).index(key)]
    for other, required in (dimension.when or {}).items():
        if other not in earlier:
            raise UserError(f"space.{key}.when names {other}, which is not a key above it; move {key} below it")
        for value in required if isinstance(required, list) else [required]:
            if not as_dimension(space[other]).contains(value):
                raise UserError(f"space.{key}.when: {other} is never {value}; name one of its values")


def format_value(value: object) -> str:
    """Return a value of the space with at most four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_overrides(overrides: Mapping[str, object]) -> list[str]:
    """Return config keys and values as `key=value`."""
    return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
