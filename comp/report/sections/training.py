"""The config's differences from its parent, the data, the time, the device and the code."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from comp import config as configs
from comp.cli import DEFAULT_CONFIG
from comp.errors import UserError
from comp.files import file_exists
from comp.records.base import Fold
from comp.records.run import FoldRecord
from comp.report.section import Finding, Section
from comp.report.source import Source, possible_folds
from comp.runs import Run
from comp.schema import Config
from comp.yaml12 import read_yaml


@dataclass(frozen=True)
class Difference:
    """A key whose value is another than in the parent config."""

    key: str
    value: Any
    parent: Any


def build(source: Source) -> Section | None:
    run = source.run
    if run is None:
        return None
    folds = read_fold_records(run)
    parent_name, parent = _parent_config(run, folds)
    own, inherited = run.config.identity(), parent.identity()
    differences = [
        Difference(key, own.get(key), inherited.get(key))
        for key in sorted(own.keys() | inherited.keys())
        if own.get(key) != inherited.get(key)
    ]
    values = {
        "run": run,
        "folds": folds,
        "dataset": source.dataset,
        "parent": parent_name,
        "differences": differences,
        "seconds": sum(record.seconds or 0 for record in folds.values()) or None,
        "first": next(iter(folds.values()), None),
    }
    return Section("What was run", "run", "training.html", values, findings=tuple(_findings(run, folds)))


def read_fold_records(run: Run) -> dict[Fold, FoldRecord]:
    """Return the record of each fold that was begun."""
    records = {fold: run.fold_dir(fold).read_record() for fold in possible_folds(run)}
    return {fold: record for fold, record in records.items() if record}


def _parent_config(run: Run, folds: dict[Fold, FoldRecord]) -> tuple[str, Config]:
    """Return the parent of the file that the run was trained with, as it is now; or the kit's defaults."""
    for record in folds.values():
        words = shlex.split(record.command)
        options = dict(pairwise(words))
        file = Path(options.get("-c") or options.get("--config") or DEFAULT_CONFIG)
        try:
            extends = read_yaml(file).get("extends") if file_exists(file) else None
            if isinstance(extends, str):
                path = file.parent / extends
                return path.as_posix(), configs.load(path)[0]
        except UserError:
            pass  # a config that is broken now
        break
    return "the defaults", Config(name=run.name)


def _findings(run: Run, folds: dict[Fold, FoldRecord]) -> list[Finding]:
    findings = []
    for fold, record in folds.items():
        if record.status in ("failed", "pruned"):
            findings.append(Finding("wrong", f"Fold {fold} {record.status}: {record.reason or 'no reason'}", "problem"))
        elif record.status == "running":
            findings.append(Finding("trust", f"Fold {fold} is being trained", "notice"))
    if run.record.git.dirty:
        findings.append(Finding("trust", "The code had changes that are in no commit", "notice"))
    return findings
