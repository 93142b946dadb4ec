"""What is not as it was when a submission was made, each by its name."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from comp.data.scan import Dataset, scan
from comp.environment import git_state
from comp.errors import UserError
from comp.files import file_sha256
from comp.prediction.provenance import input_hashes
from comp.runs import FoldDir

Note = dict[str, Any]


def missing_inputs(note: Note) -> list[str]:
    """What cannot be predicted with: no hope of the same bytes then, so nothing need be computed."""
    return [*_classes(note), *(line for member in note["members"] for line in _weights(member))]


def _classes(note: Note) -> Iterator[str]:
    root, then = note["competition"]["root"], list(note["classes"])
    try:
        now = list(scan(root).classes)
    except UserError as problem:  # it is gone, say, or its folders are not those of its class_map.json
        yield str(problem)
    else:
        if now != then:
            yield f"the classes of {root}, or their order: {', '.join(then)} then, {', '.join(now)} now"


def _weights(member: dict[str, Any]) -> Iterator[str]:
    path = Path(member["path"])
    if not (path / "run.json").is_file():
        yield f"the run {member['run']} is not there: {path} is missing"
        return
    for fold, sha256 in member["weights_sha256"].items():
        weights = FoldDir(path / f"fold{fold}").weights_path
        if not weights.is_file():
            yield f"the weights of {member['run']}, fold {fold}: {weights} is missing"
        elif file_sha256(weights) != sha256:
            yield f"the weights of {member['run']}, fold {fold}: {weights} holds others"


def changed_inputs(note: Note, dataset: Dataset) -> list[str]:
    """What is looked at and filled in."""
    now, then = input_hashes(dataset).to_dict(), note["images"]
    lines = []
    if now["test_sha256"] != then["test_sha256"]:
        lines.append(f"the test images: {dataset.root / 'test'} holds others, or other bytes ({len(dataset.test)} now)")
    if now["sample_sha256"] != then["sample_sha256"]:
        what = "was added" if not then["sample_sha256"] else "is gone" if not now["sample_sha256"] else "is another"
        lines.append(f"the sample submission of {dataset.root} {what}")
    return lines


def possible_causes(note: Note) -> list[str]:
    """What may change the last bits, or more, and may as well change nothing."""
    lines = []
    if scan(note["competition"]["root"]).image_list_sha256 != note["images"]["train_list_sha256"]:
        lines.append("the list of training images changed, and they decide the size that pictures are kept at")
    for name, then in note["versions"].items():
        if (now := _version(name)) != then:
            lines.append(f"{name} {then} then, {now} now")
    then, now = note["git"], git_state().to_dict()
    if then["commit"] != now["commit"]:
        lines.append(f"the code: commit {str(then['commit'])[:8]} then, {str(now['commit'])[:8]} now")
    if then["dirty"] or now["dirty"]:
        lines.append(f"the code: with changes that were in no commit{' then' * then['dirty']}{' now' * now['dirty']}")
    return [*lines, "another machine, or another number of threads: sums in another order"]


def _version(name: str) -> str | None:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return None
