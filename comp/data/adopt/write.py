"""Print the conclusions, and write the config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from comp import config
from comp.data.adopt.options import AdoptOptions, Conclusion, Finding
from comp.errors import UserError, did_you_mean
from comp.files import file_exists, read_text, write_atomic
from comp.metrics import find_metric
from comp.rows import PoolMethod
from comp.tasks import TASKS
from comp.text import WIDTH, format_table
from comp.yaml12 import parse_scalar, render_yaml

PARENT = "deep_efficientnet.yaml"
ANSWER = "label|probability|number|tags|best:[1-9][0-9]?"


def format_findings(findings: Sequence[Finding]) -> str:
    """Return a line for each conclusion."""
    rows = [(finding.key, finding.value, finding.evidence) for finding in findings]
    return format_table(("", "conclusion", "evidence"), rows, (0, 1, 2), width=WIDTH)


def render_config(name: str, conclusion: Conclusion, configs: Path) -> str:
    """Return the text of the config: the keys that differ from their default."""
    keys = {key: _unwrap(value) for key, value in conclusion.source.to_dict().items()}
    submit = {key: keys.pop(key) for key in ("sample", "answer") if key in keys}
    train = {"metric": keys.pop("metric", conclusion.source.metric)}
    data = {**keys, "size": conclusion.size}
    tree: dict[str, Any] = {"extends": PARENT} if (configs / PARENT).is_file() else {}
    tree["data"] = data
    if conclusion.loss:
        tree["loss"] = {"name": conclusion.loss}
    tree["train"] = train
    if submit:
        tree["submit"] = submit
    header = (
        f"# The competition {name} as its files deliver it.\n"
        f"# python train.py -c configs/{name}.yaml\n"
        f"# Score: not measured. Written by python -m comp data adopt {conclusion.source.root}\n"
    )
    return header + render_yaml(tree)


def write_config(path: Path, text: str, *, force: bool) -> str:
    """Write a config, unless another of that name exists; return what was done."""
    if file_exists(path):
        existing = read_text(path)
        if existing == text or _tree(existing) == _tree(text):
            return f"{path} already exists and is the same"
        if not force:
            raise UserError(f"{path} exists and differs; add --force to replace it")
    write_atomic(path, text)
    return f"wrote {path}"


def config_path(root: Path) -> Path:
    """Return the path of the config of a competition's folder; a UserError if its name cannot be that of a config."""
    return Path("configs", f"{config.check_name(root.name)}.yaml")


def check_options(options: AdoptOptions) -> AdoptOptions:
    """Return the user's choices; a UserError for a task, a metric or an answer that is none."""
    if options.task is not None and options.task not in TASKS:
        raise UserError(f"unknown task {options.task}{did_you_mean(options.task, TASKS)} (--task)")
    if options.metric is not None:
        find_metric(options.metric)
    if options.answer is not None and not re.fullmatch(ANSWER, options.answer):
        raise UserError(f"--answer {options.answer} is none of label, probability, number, tags and best:K")
    if options.pool not in (None, *get_args(PoolMethod)):
        raise UserError(f"--pool {options.pool} is none of {' and '.join(get_args(PoolMethod))}")
    return options


def _tree(text: str) -> object:
    try:
        return parse_scalar(text)
    except UserError:
        return None


def _unwrap(value: Any) -> Any:
    """Return a list of one text as the text."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
