"""The house stands: modules import only downwards, heavy libraries live in one room each, and --help is instant."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comp.__main__ import COMMANDS

REPO_ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(REPO_ROOT / "comp").rglob("*.py"), REPO_ROOT / "train.py", REPO_ROOT / "infer.py"])

# a room is a package or a single module below comp/, or a program beside it
FLOORS = {
    "comp": 0,
    "errors": 0,
    "environment": 0,
    "cli": 0,
    "yaml12": 0,
    "schema": 0,
    "config": 0,
    "files": 0,
    "records": 0,
    "checkpoints": 0,
    "tables": 0,
    "metrics": 0,
    "stats": 0,
    "data": 1,
    "batches": 1,
    "zoo": 1,
    "engine": 2,
    "runs": 2,
    "ensemble": 3,
    "submit": 3,
    "observers": 3,
    "training": 4,
    "prediction": 4,
    "blending": 5,
    "bench": 6,
    "ship": 6,
    "study": 6,
    "papers": 6,
    "commands": 7,
    "__main__": 7,
    "train": 7,
    "infer": 7,
}
# between rooms of one floor: (importer, imported) -> why
ARROWS = {
    ("cli", "errors"): "the door prints the one error users read",
    ("yaml12", "errors"): "a broken file is such an error",
    ("config", "errors"): "so is a wrong key",
    ("tables", "errors"): "so is a broken table",
    ("tables", "files"): "tables are written atomically",
    ("files", "errors"): "a missing or broken file is such an error",
    ("records", "errors"): "so is a record of wrong keys",
    ("records", "files"): "records are JSON files",
    ("checkpoints", "errors"): "so is a broken checkpoint",
    ("checkpoints", "files"): "checkpoints are written atomically",
    ("environment", "records"): "it fills the records of process and code",
    ("stats", "metrics"): "intervals and tests are of metrics",
    ("stats", "records"): "it fills the record of all scores",
    ("batches", "data"): "batches are made of cached images",
    ("training", "prediction"): "a finished fold is predicted and described as later programs do it",
    ("config", "yaml12"): "configs are written in YAML",
    ("config", "schema"): "a file is read into the vocabulary",
    ("schema", "yaml12"): "the vocabulary writes itself as YAML",
}
# libraries that one place hides from the rest
ONLY_IN = {
    "wandb": "comp/observers/wandb.py",
    "albumentations": "comp/batches/augment_image.py",
    "optuna": "comp/study/",
    "onnx": "comp/engine/export.py",
    "onnxruntime": "comp/engine/runtime.py",
    "openvino": "comp/engine/",
    "kaggle": "comp/submit/kaggle.py",
    "kagglesdk": "comp/submit/kaggle.py",
}
HEAVY = {"torch", "pandas", "sklearn", "pydantic", "numpy"}


def room_of(module: str) -> str:
    """`comp.data.scan` -> data, `comp` -> comp (its docstring), `train` -> train."""
    parts = module.split(".")
    return parts[1] if parts[0] == "comp" and len(parts) > 1 else parts[0]


def module_of(file: Path) -> str:
    parts = file.relative_to(REPO_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions; `from comp import config` is comp.config."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from ([f"comp.{alias.name}" for alias in node.names] if node.module == "comp" else [node.module])


def arrows() -> Iterator[tuple[str, str, str]]:
    for file in FILES:
        for imported in imports(file):
            if imported.split(".")[0] in ("comp", "train", "infer"):
                yield file.relative_to(REPO_ROOT).as_posix(), room_of(module_of(file)), room_of(imported)


def test_every_room_has_a_floor():
    rooms = {room_of(module_of(file)) for file in FILES}
    assert rooms == set(FLOORS), "draw the new room into FLOORS, or take out the old one"


def test_modules_import_only_from_lower_floors_or_along_drawn_arrows():
    upwards = [
        f"{file}: {room} imports {imported}"
        for file, room, imported in arrows()
        if room != imported and (room, imported) not in ARROWS and FLOORS[imported] >= FLOORS.get(room, -1)
    ]
    assert not upwards


def test_every_drawn_arrow_is_walked():
    assert set(ARROWS) <= {(room, imported) for _, room, imported in arrows()}


@pytest.mark.parametrize(("library", "home"), ONLY_IN.items())
def test_a_wrapped_library_is_imported_in_one_place(library, home):
    users = [
        file.relative_to(REPO_ROOT).as_posix()
        for file in FILES
        if library in {name.split(".")[0] for name in imports(file)}
    ]
    assert users and all(user.startswith(home) for user in users)


def test_no_file_is_a_drawer_for_odds_and_ends():
    names = {part for file in FILES for part in file.relative_to(REPO_ROOT).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.mark.parametrize("command", ["train.py", "infer.py", "-m comp", *(f"-m comp {verb}" for verb in COMMANDS)])
def test_help_is_instant_because_it_imports_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command.split(), "--help"], cwd=REPO_ROOT, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "usage:" in done.stdout
    assert "comp" in imported and not imported & HEAVY
