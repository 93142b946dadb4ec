"""The workspace that commit bb2c827 left in made/, and what the tests of it share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.artefacts.replay import call

ARTEFACTS = Path(__file__).resolve().parent
ROOT = next(path for path in ARTEFACTS.parents if (path / "pyproject.toml").is_file())
MADE = ARTEFACTS / "made"
MTIME = 1_700_000_000  # seconds; as in make.sh, for times of images are part of a cache's key


def lay_out(target: Path, *made: str) -> None:
    """The configs of the repository and of the artefacts, and those folders of `made`."""
    for source, name in ((ROOT, "configs"), (ARTEFACTS, "configs"), *((MADE, name) for name in made)):
        shutil.copytree(source / name, target / name, dirs_exist_ok=True)
    for path in (target / "input").rglob("*"):
        os.utime(path, (MTIME, MTIME))


def run(*words: str, status: int = 0) -> str:
    ended, printed = call(ROOT, *words)
    assert ended == status, f"{words}: {printed}"
    return printed


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def checkpoint(path: Path | str) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


WORDS = {"status", "kept", "metric", "method", "views", "runtime", "kind", "severity", "precision", "event"}


def names_in(value: Any, at: str = "") -> Iterator[str]:
    """A line for each key, in order, with the type of its value; of what is a word of ours, with the value."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from names_in(inner, f"{at}.{key}")
    elif isinstance(value, list | tuple) and value:
        yield from dict.fromkeys(line for inner in value for line in names_in(inner, f"{at}[]"))
    elif isinstance(value, torch.Tensor):
        yield f"{at}: {value.dtype} {tuple(value.shape)}"
    else:
        word = at.rpartition(".")[2].removesuffix("[]") in WORDS
        yield f"{at}: {value if word else type(value).__name__}"
