"""Read and write YAML 1.2: only true and false are booleans, and 1e-3 is a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from comp.errors import UserError, did_you_mean


class Yaml12(yaml.SafeLoader):
    """A loader of YAML 1.2 scalars; PyYAML reads 1.1, where `off`, `on`, `no` are booleans and `1e-3` is text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  filled below

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            duplicate = next(key for key in keys if keys.count(key) > 1)
            raise yaml.MarkedYAMLError(problem=f"the key {duplicate} appears twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in [
    ("bool", r"true|false", "tf"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
]:
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
Yaml12.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
Yaml12.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes text which 1.2 would read as another type: a run may be named 08 or 1e5."""

    yaml_implicit_resolvers = Yaml12.yaml_implicit_resolvers


def render_yaml(tree: dict[str, Any]) -> str:
    """Return YAML that `read_yaml` reads back unchanged, in the same order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_scalar(text: str) -> Any:
    """Return the value of a `key=value` override."""
    try:
        return yaml.load(text, Loader=Yaml12)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"cannot read the value {text!r}; write it as in YAML") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml12)
    except (FileNotFoundError, IsADirectoryError):
        if not Path("configs").is_dir():
            raise UserError(f"there is no config {path}, and no configs/ here; run this in the kit's folder") from None
        known = [file.as_posix() for file in Path("configs").rglob("*.yaml")]
        raise UserError(f"there is no config {path}{did_you_mean(path.as_posix(), known)}") from None
    except (yaml.YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        location = f" in line {line + 1}" if line is not None else ""
        reason = getattr(error, "problem", None) or "a value or a character cannot be read"
        raise UserError(f"{path} is not readable YAML{location}: {reason}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"{path} must hold keys and values, such as `train: {{epochs: 30}}`")
    return tree or {}
