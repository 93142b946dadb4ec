"""Load configs: a YAML file, its parents and command-line overrides become the configs of named runs.

load("configs/deep_efficientnet.yaml", ["optim.lr=3e-4"])  ->  [Config]      one per value of train.seed
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from comp.errors import UserError, did_you_mean, shorten
from comp.schema import Config, flatten
from comp.yaml12 import parse_scalar, read_yaml


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = (), name: str | None = None) -> list[Config]:
    """Return the config of a file with its overrides, or one config per seed if `train.seed` lists several."""
    tree = read_tree(Path(path))
    base = {"name": _config_name(Path(path)), **tree}
    overridden = merge(base, parse_overrides(overrides))
    configs = [(_validate(tree, path), seed) for tree, seed in _expand_seeds(overridden)]
    # The config without overrides: the run's name lists the keys that differ from it.
    original = _validate(next(_expand_seeds(base))[0], path) if overrides else configs[0][0]
    return [_with_run_name(config, original, name, seed) for config, seed in configs]


def read_tree(path: Path) -> dict[str, Any]:
    """Return one YAML file merged over its chain of parents (`extends`), as plain maps."""
    seen: list[Path] = []
    layers: list[dict[str, Any]] = []
    next_path: Path | None = path
    while next_path is not None:
        layer = read_yaml(next_path)  # before anything else: it refuses what is no path
        if next_path.resolve() in seen:
            raise UserError(f"{next_path} extends itself, through {len(seen)} files; remove one `extends`")
        seen.append(next_path.resolve())
        parent = layer.pop("extends", None)
        layers.append(layer)
        next_path = next_path.parent / str(parent) if parent else None
    tree: dict[str, Any] = {}
    for layer in reversed(layers):
        tree = merge(tree, layer)
    return tree


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `override` merged in: maps deeply, all else replaced. A new model drops the old kwargs."""
    result = dict(base)
    for key, value in override.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            if key == "model" and value.get("name", old.get("name")) != old.get("name"):
                old = {k: v for k, v in old.items() if k != "kwargs"}
            result[key] = merge(old, value)
        else:
            result[key] = value
    return result


def parse_overrides(overrides: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Return `["optim.lr=3e-4"]` as `{"optim": {"lr": 0.0003}}`; values are read as YAML."""
    tree: dict[str, Any] = {}
    # the model's name first: it drops the kwargs of the old model, not those of other overrides
    for text in sorted(overrides, key=lambda text: not text.startswith("model.name=")):
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
            raise UserError(f"cannot read {shorten(text)!r}; an override is key=value, for example optim.lr=3e-4")
        leaf = parse_scalar(value)
        for name in reversed(key.split(".")):
            leaf = {name: leaf}
        tree = merge(tree, leaf)
    return tree


def _validate(tree: dict[str, Any], source: str | Path) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        known_keys = _known_keys()
        if first["type"] == "extra_forbidden":
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"{source}: unknown key {key}{_nearest_key(key, known_keys)}") from None
        # pydantic adds the names of a union's members to the location; only the key is ours
        names = {name for key in known_keys for name in key.split(".")}
        key = ".".join(str(name) for name in first["loc"] if name in names)
        reason = (
            "must be a map of keys"
            if "dict" in first["type"] or "model" in first["type"]
            else first["msg"].lower().replace("input should", "must")
        )
        raise UserError(f"{source}: {key} {reason}, and is {shorten(repr(first['input']))}") from None


def _known_keys() -> list[str]:
    keys = list(flatten(Config(name="x").model_dump()))
    return [*(key for key in keys if key != "name"), "model.kwargs"]


def _nearest_key(key: str, known_keys: list[str]) -> str:
    """Return a hint: keys of that last name in other sections, else the nearest key of the section, else of all."""
    section, _, leaf = key.rpartition(".")
    same_leaf = [k for k in known_keys if k.rpartition(".")[2] == leaf]
    same_section = [k for k in known_keys if section and k.startswith(f"{section}.")]
    sections = sorted({k.partition(".")[0] for k in known_keys}) if not section else []
    return did_you_mean(key, same_leaf or same_section or [*known_keys, *sections])


def _expand_seeds(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Yield (tree, None), or (tree, seed) for each seed if `train.seed` is a list such as `0,1,2`."""
    section = tree.get("train")
    train: dict[str, Any] = section if isinstance(section, dict) else {}
    seeds = train.get("seed")
    if isinstance(seeds, str) and re.fullmatch(r"\d+(\s*,\s*\d+)+", seeds):
        seeds = [int(seed) for seed in seeds.split(",")]
    if not isinstance(seeds, list) or not seeds:
        yield tree, None
        return
    for seed in seeds:
        yield {**tree, "train": {**train, "seed": seed}}, seed


def _config_name(path: Path) -> str:
    """Return the path below the innermost `configs/` without its suffix; outside `configs/` the file's stem."""
    parts = path.with_suffix("").parts
    return "/".join(parts[-parts[::-1].index("configs") :]) if "configs" in parts else path.stem


def check_name(name: str) -> str:
    """Return `name` if it can be a path below runs/ or submissions/; refuse it otherwise."""
    if not re.fullmatch(r"[\w.+=@,-]+(/[\w.+=@,-]+)*", name) or {".", ".."} & set(name.split("/")):
        raise UserError(f"cannot use {name!r} as a name; use letters, digits, - _ . + = and / for folders")
    return name


def _with_run_name(config: Config, original: Config, name: str | None, seed: int | None) -> Config:
    """Return `config` with the name of its run: `name` if given, else the file's name and what the overrides changed.

    The changes are the keys whose values differ from `original`, sorted, as `+key=value`. A long list ends in a hash.
    """
    check_name(config.name if name is None else name)
    if name is not None:
        return config.model_copy(update={"name": name if seed is None else f"{name}+train.seed={seed}"})
    old, new = original.identity(), config.identity()
    differs = {key: value for key, value in new.items() if value != old.get(key)}
    if seed is not None:
        differs["train.seed"] = seed
    suffix = "".join(
        f"+{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in sorted(differs.items())
    )
    suffix = re.sub(r"[^\w.+=@,-]", "-", suffix)
    if len(config.name + suffix) > 80 and suffix:
        suffix = f"{suffix[: max(0, 71 - len(config.name))]}-{hashlib.sha256(suffix.encode()).hexdigest()[:8]}"
    return config.model_copy(update={"name": config.name + suffix})
