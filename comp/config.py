"""A run's every choice, typed: YAML with one parent, dotted overrides, and an error that names the right key.

    load("configs/deep_efficientnet.yaml", ["optim.lr=3e-4"])  ->  [Config]      one per value of train.seed

This module checks types and ranges. A name (model, policy, optimiser) is checked by the room that owns it.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comp.errors import UserError, nearest
from comp.yaml12 import parse_scalar, read_yaml, render_yaml

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    root: str = "input/blood-cells"                     # its last part is the dataset's name
    size: Annotated[int, Field(ge=8)] = 224             # side of the square the model sees
    crop: Count | None = None                           # centre crop in source pixels, before anything else
    fit: Literal["squash", "crop", "pad"] = "squash"
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"


class Folds(Section):
    k: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 42
    file: str | None = None                             # default: folds/<dataset>.csv


class Augment(Section):
    policy: str = "paper"
    mixup: NotNegative = 0.0                            # alpha of the Beta distribution; 0 is off
    cutmix: NotNegative = 0.0
    mix_off_epoch: Annotated[int, Field(ge=0)] = 0      # from this epoch on images stay whole; 0 is never


class Model(Section):
    name: str = "sharif_deep_efficientnet"
    pretrained: bool = False
    dropout: Fraction | None = None                     # None: the model's own default
    drop_path: Fraction | None = None
    kwargs: dict[str, Any] = {}                         # the only free map; timm refuses what it does not know


class Loss(Section):
    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    focal_gamma: NotNegative = 2.0


class Optim(Section):
    name: str = "adamw"                                 # any timm optimiser
    lr: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    decay_all: bool = False                             # true: biases and norms decay too
    momentum: Fraction = 0.9
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    clip: Positive | None = None
    clip_mode: Literal["norm", "value", "agc"] = "norm"


class Schedule(Section):
    name: Literal["cosine", "constant", "step", "plateau"] = "cosine"
    warmup_epochs: NotNegative = 0.0
    min_lr: NotNegative = 1e-6
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1    # step and plateau: the factor of each drop
    step_epochs: Count = 10                             # step: epochs between drops
    patience: Count = 3                                 # plateau: epochs without a lower validation loss


class Train(Section):
    epochs: Count = 50
    batch: Count = 32
    accumulate: Count = 1
    seed: Annotated[int, Field(ge=0)] = 42              # `0,1,2` makes sibling runs
    metric: str = "accuracy"
    keep: Literal["last", "best"] = "last"
    patience: Count | None = None                       # stop after so many epochs without a better one
    monitor: Literal["score", "loss"] = "score"         # what makes an epoch better, for patience and keep: best
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    balanced: bool = False                              # draw every class equally often
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    init: str | None = None                             # start fold k from fold k of this run
    save_every: NotNegative = 60.0                      # seconds between saves


class Infer(Section):
    tta: Literal["none", "flips", "d4"] = "none"


class Log(Section):
    wandb: Literal["off", "offline", "online", "auto"] = "auto"
    project: str | None = None                          # default: the dataset's name


class Config(Section):
    name: str
    data: Data = Data()
    folds: Folds = Folds()
    augment: Augment = Augment()
    model: Model = Model()
    loss: Loss = Loss()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    train: Train = Train()
    infer: Infer = Infer()
    log: Log = Log()

    @property
    def dataset(self) -> str:
        return Path(self.data.root).name

    @property
    def folds_file(self) -> Path:
        return Path(self.folds.file or f"folds/{self.dataset}.csv")

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run, flat: everything but how it is logged, saved, loaded or read out."""
        flat = _flatten(self.model_dump(exclude={"name", "log", "infer"}))
        return {key: value for key, value in flat.items() if key not in ("data.workers", "train.save_every")}

    def to_yaml(self) -> str:
        return render_yaml(self.model_dump())


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = (), name: str | None = None) -> list[Config]:
    """The configs of a file and its overrides: one, or one per seed where `train.seed` lists several."""
    written = read_tree(Path(path))
    base = {"name": _name_of(Path(path)), **written}
    changed = merge(base, parse_overrides(overrides))
    configs = [(_validate(tree, path), seed) for tree, seed in _siblings(changed)]
    original = _validate(next(_siblings(base))[0], path) if overrides else configs[0][0]
    return [_named(config, original, name, seed) for config, seed in configs]


def read_tree(path: Path) -> dict[str, Any]:
    """One YAML file merged over its chain of parents (`extends`), as plain maps."""
    seen: list[Path] = []
    layers: list[dict[str, Any]] = []
    while path is not None:
        if path.resolve() in seen:
            raise UserError(f"{path} extends itself, by way of {len(seen)} files")
        seen.append(path.resolve())
        layer = read_yaml(path)
        parent = layer.pop("extends", None)
        layers.append(layer)
        path = path.parent / str(parent) if parent else None
    tree: dict[str, Any] = {}
    for layer in reversed(layers):
        tree = merge(tree, layer)
    return tree


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Maps merge deeply, all else is replaced. A new model drops the kwargs that belonged to the old one."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            if key == "model" and value.get("name", old.get("name")) != old.get("name"):
                old = {k: v for k, v in old.items() if k != "kwargs"}
            result[key] = merge(old, value)
        else:
            result[key] = value
    return result


def parse_overrides(overrides: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """`["optim.lr=3e-4"]` -> `{"optim": {"lr": 0.0003}}`; the value is read as YAML."""
    tree: dict[str, Any] = {}
    # the model's name first: it drops the kwargs of another model, not those asked for beside it
    for text in sorted(overrides, key=lambda text: not text.startswith("model.name=")):
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
            raise UserError(f"cannot read {text!r}; an override is key=value, for example optim.lr=3e-4")
        leaf = parse_scalar(value)
        for part in reversed(key.split(".")):
            leaf = {part: leaf}
        tree = merge(tree, leaf)
    return tree


def _validate(tree: dict[str, Any], source: str | Path) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as failure:
        first = failure.errors()[0]
        known = _known_keys()
        if first["type"] == "extra_forbidden":
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"{source}: unknown key {key}{_nearest_key(key, known)}") from None
        # pydantic adds the names of a union's members to the place; only the key is ours
        words = {word for key in known for word in key.split(".")}
        key = ".".join(str(part) for part in first["loc"] if part in words)
        reason = "must be a map of keys" if "dict" in first["type"] or "model" in first["type"] \
            else first["msg"].lower().replace("input should", "must")
        raise UserError(f"{source}: {key} {reason}, and is {first['input']!r}") from None


def _known_keys() -> list[str]:
    keys = list(_flatten(Config(name="x").model_dump()))
    return [*(key for key in keys if key != "name"), "model.kwargs"]


def _nearest_key(key: str, known: list[str]) -> str:
    """The same last word in another section, else the nearest key of the same section, else of all."""
    section, _, leaf = key.rpartition(".")
    same_leaf = [k for k in known if k.rpartition(".")[2] == leaf]
    same_section = [k for k in known if section and k.startswith(f"{section}.")]
    sections = sorted({k.partition(".")[0] for k in known}) if not section else []
    return nearest(key, same_leaf or same_section or [*known, *sections])


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _siblings(tree: dict[str, Any]):
    """(tree, None), or one (tree, seed) per seed where `train.seed` is a list such as `0,1,2`."""
    train = tree.get("train")
    seeds = train.get("seed") if isinstance(train, dict) else None
    if isinstance(seeds, str) and re.fullmatch(r"\d+(\s*,\s*\d+)+", seeds):
        seeds = [int(seed) for seed in seeds.split(",")]
    if not isinstance(seeds, list) or not seeds:
        yield tree, None
        return
    for seed in seeds:
        yield {**tree, "train": {**train, "seed": seed}}, seed


def _name_of(path: Path) -> str:
    """The path below `configs/` (the innermost folder of that name) without its suffix; elsewhere the file's stem."""
    parts = path.with_suffix("").parts
    return "/".join(parts[-parts[::-1].index("configs"):]) if "configs" in parts else path.stem


def _named(config: Config, original: Config, name: str | None, seed: int | None) -> Config:
    """Name a run by what differs from its file, whatever order it was typed in; or as `--name` says."""
    asked = config.name if name is None else name
    if not re.fullmatch(r"[\w.+=@,-]+(/[\w.+=@,-]+)*", asked) or {".", ".."} & set(asked.split("/")):
        raise UserError(f"cannot use {asked!r} as a name; use letters, digits, - _ . + = and / for folders")
    if name is not None:
        return config.model_copy(update={"name": name if seed is None else f"{name}+train.seed={seed}"})
    old, new = original.identity(), config.identity()
    differs = {key: value for key, value in new.items() if value != old.get(key)}
    if seed is not None:
        differs["train.seed"] = seed
    suffix = "".join(f"+{key}={value if isinstance(value, str) else json.dumps(value)}"
                     for key, value in sorted(differs.items()))
    suffix = re.sub(r"[^\w.+=@,-]", "-", suffix)
    if len(config.name + suffix) > 80 and suffix:
        suffix = f"{suffix[:max(0, 71 - len(config.name))]}-{hashlib.sha256(suffix.encode()).hexdigest()[:8]}"
    return config.model_copy(update={"name": config.name + suffix})
