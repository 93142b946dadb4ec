"""Read and write YAML 1.2: only true and false are booleans, and 1e-3 is a number."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from comp.errors import UserError, did_you_mean, shorten
from comp.files import MissingFileError, bounded_int, finite_float, read_text

MAX_YAML_BYTES = 2**18  # 256 kB, which PyYAML reads in 2 s; the largest config of a run has 3 kB
MAX_NODES = 10_000  # values, those behind aliases counted each time; a config has some 100
MAX_DEPTH = 20  # levels, those behind aliases included; a config has 3
UNUSABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class _Extent:
    """The size of a node written out without aliases."""

    nodes: int
    levels: int


class Yaml12(yaml.SafeLoader):
    """A loader of YAML 1.2 scalars; PyYAML reads 1.1, where `off`, `on`, `no` are booleans and `1e-3` is text.

    It makes only what JSON has: maps with text as keys, lists, text, finite numbers, booleans and null. Aliases are
    allowed within limits: nine lines of them can stand for a billion values, or for themselves.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  filled below
    yaml_constructors = {  # noqa: RUF012  no dates, sets or bytes
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (*(f"tag:yaml.org,2002:{kind}" for kind in ("null", "str", "seq", "map")), None)
    }

    def __init__(self, stream: str):
        super().__init__(stream)
        self._extents: dict[yaml.Node, _Extent] = {}  # of the nodes that are complete
        self._nodes = self._levels = self._deepest = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read a node as PyYAML does, within the limits of its extent."""
        event = self.peek_event()
        first, outer_deepest = self._nodes, self._deepest
        self._levels += 1
        self._nodes += 1
        self._deepest = self._levels
        self._check_limits(event)  # before PyYAML goes deeper, and recurses
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if node not in self._extents:
                raise _problem(f"*{event.anchor} refers to itself", event)
            self._nodes = first + self._extents[node].nodes
            self._deepest = self._levels - 1 + self._extents[node].levels
            self._check_limits(event)
        self._levels -= 1
        if node is not None:
            self._extents[node] = _Extent(self._nodes - first, self._deepest - self._levels)
        self._deepest = max(self._deepest, outer_deepest)
        return node

    def _check_limits(self, event: yaml.Event) -> None:
        if self._nodes > MAX_NODES:
            raise _problem(f"it has more than {MAX_NODES:,} values", event)
        if self._deepest > MAX_DEPTH:
            raise _problem(f"it is nested deeper than {MAX_DEPTH} levels", event)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        if isinstance(text, str) and UNUSABLE.search(text):  # "\0" in quotes stands for one
            raise _problem("a text has a character that no file name can have", node)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _problem("a key is not text; write it in quotes", key)
        if len(content) < len(node.value):
            keys = [key.value for key, _ in node.value]
            raise _problem(f"the key {shorten(next(key for key in keys if keys.count(key) > 1))} appears twice", node)
        return content


def _problem(reason: str, at: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=at.start_mark)  # type: ignore[arg-type]


for _tag, _pattern, _first in [
    ("bool", r"true|false", "tf"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
]:
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _construct_number(make: Callable[[str], int | float]) -> Callable[[Yaml12, yaml.Node], int | float]:
    def construct(loader: Yaml12, node: yaml.Node) -> int | float:
        if not isinstance(node, yaml.ScalarNode):
            raise _problem("it is not a number", node)
        try:
            return make(node.value)
        except ValueError:
            raise _problem(f"it has {shorten(node.value)}, which is no finite number of 64 bits", node) from None

    return construct


def _construct_bool(loader: Yaml12, node: yaml.Node) -> bool:
    if node.value not in ("true", "false"):
        raise _problem("it is neither true nor false", node)
    return node.value == "true"


Yaml12.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
Yaml12.add_constructor("tag:yaml.org,2002:int", _construct_number(bounded_int))
Yaml12.add_constructor("tag:yaml.org,2002:float", _construct_number(finite_float))


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes text which 1.2 would read as another type: a run may be named 08 or 1e5."""

    yaml_implicit_resolvers = Yaml12.yaml_implicit_resolvers


def render_yaml(tree: dict[str, Any]) -> str:
    """Return YAML that `read_yaml` reads back unchanged, in the same order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_scalar(text: str) -> Any:
    """Return the value of a `key=value` override."""
    try:
        return _parse(text)
    except ValueError:
        raise UserError(f"cannot read the value {shorten(text)!r}; write it as in YAML") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file."""
    try:
        tree = _parse(read_text(path, MAX_YAML_BYTES))
    except MissingFileError:
        if not Path("configs").is_dir():
            raise UserError(f"there is no config {path}, and no configs/ here; run this in the kit's folder") from None
        known = [file.as_posix() for file in Path("configs").rglob("*.yaml")]
        raise UserError(f"there is no config {path}{did_you_mean(path.as_posix(), known)}") from None
    except ValueError as error:
        raise UserError(f"{path} is not readable YAML{error}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"{path} must hold keys and values, such as `train: {{epochs: 30}}`")
    return tree or {}


def _parse(text: str) -> Any:
    """Return the value of a YAML text, or raise a ValueError with the line and the reason."""
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f": it is longer than {MAX_YAML_BYTES:,} characters")
    try:
        return yaml.load(text, Loader=Yaml12)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        location = f" in line {line + 1}" if line is not None else ""
        reason = getattr(error, "problem", None) or "a value or a character cannot be read"
        raise ValueError(f"{location}: {reason}") from None
