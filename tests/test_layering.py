"""The structure of comp/: imports run downwards, heavy libraries are wrapped, files are small, names are plain."""

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

# A package or a single module below comp/, or a program beside it, and its layer. docs/design.md describes them.
LAYERS = {
    **dict.fromkeys(("comp", "errors", "files", "records", "tables", "checkpoints", "yaml12", "schema"), 0),
    **dict.fromkeys(("schema_data", "schema_types", "config", "cli", "environment", "progress_bar"), 0),
    **dict.fromkeys(
        ("local_server", "metrics", "prediction_file", "rows", "signals", "stats", "temporary", "text", "figures"), 0
    ),
    **dict.fromkeys(("tasks", "data", "batches", "zoo"), 1),
    **dict.fromkeys(("engine", "runs"), 2),
    **dict.fromkeys(("diagnosis", "ensemble", "submit", "observers"), 3),
    **dict.fromkeys(("training", "track", "prediction"), 4),
    **dict.fromkeys(("blending", "launch"), 5),
    **dict.fromkeys(("bench", "doctor", "papers", "report", "serving", "ship", "study"), 6),
    **dict.fromkeys(("api", "commands", "__main__", "train", "infer"), 7),
}
# Imports between packages of one layer: (importer, imported) -> reason.
ALLOWED_IMPORTS = {
    ("comp", "api"): "the names of `import comp`, imported when they are used",
    ("comp", "errors"): "the error is one of them",
    ("api", "__main__"): "a command runs in a notebook as in a terminal",
    ("cli", "errors"): "programs report this one error",
    ("cli", "signals"): "every program ends in the same way",
    ("yaml12", "errors"): "a broken YAML file is a UserError",
    ("yaml12", "files"): "YAML is read within the limits of all text",
    ("config", "errors"): "a wrong key is a UserError",
    ("tables", "errors"): "a broken table is a UserError",
    ("local_server", "errors"): "a port in use is a UserError",
    ("files", "errors"): "a missing or broken file is a UserError",
    ("records", "errors"): "a record with wrong keys is a UserError",
    ("checkpoints", "errors"): "a broken checkpoint is a UserError",
    ("config", "yaml12"): "configs are written in YAML",
    ("config", "schema"): "a file is validated against the schema",
    ("schema", "yaml12"): "a config is written as YAML",
    ("schema", "schema_data"): "the sections of the dataset are a file of their own",
    ("schema", "schema_types"): "its keys have these types",
    ("schema_data", "schema_types"): "its keys have these types",
    ("schema", "records"): "the section `data` is recorded as a source",
    ("tables", "files"): "tables are written atomically",
    ("records", "rows"): "a task and a source record how a row's images are pooled",
    ("tables", "rows"): "an OOF table has a column of row ids",
    ("prediction_file", "files"): "a table of predictions is written atomically",
    ("prediction_file", "errors"): "a broken one is a UserError",
    ("prediction_file", "records"): "it contains its provenance",
    ("prediction_file", "tables"): "its rows are listed in a CSV; older versions wrote no more than that",
    ("records", "files"): "records are JSON files",
    ("checkpoints", "files"): "checkpoints are written atomically",
    ("records", "checkpoints"): "weights.pt is a record with tensors",
    ("figures", "files"): "figures are written atomically",
    ("environment", "records"): "it fills the records of process and git state",
    ("stats", "metrics"): "intervals and tests are of metrics",
    ("stats", "records"): "a score report is a record",
    ("metrics", "errors"): "an unknown metric is a UserError",
    ("data", "tasks"): "a dataset has a task",
    ("batches", "data"): "batches are made of cached images",
    ("report", "study"): "runs are compared as on the leaderboard",
    ("serving", "report"): "images are encoded for a page as in the report",
    ("serving", "ship"): "the manifest of a submission is checked as where it is reproduced",
    ("training", "track"): "a fold and a run are written to W&B as later programs do",
    ("track", "prediction"): "the predictions of a run are read as by other programs",
    ("training", "prediction"): "a finished fold is loaded and described as in later programs",
}
WRAPPED_LIBRARIES = {  # imported in one place only
    "tqdm": "comp/progress_bar.py",
    "wandb": "comp/observers/",
    "wandb_workspaces": "comp/observers/workspace.py",
    "albumentations": "comp/batches/augment_image.py",
    "jinja2": "comp/report/",
    "optuna": "comp/study/",
    "sqlalchemy": "comp/study/",
    "ray": "comp/launch/ray_launcher.py",
    "submitit": "comp/launch/slurm_launcher.py",
    "pydicom": "comp/data/dicom.py",
    "captum": "comp/engine/explain.py",
    "onnx": "comp/engine/export.py",
    "onnxruntime": "comp/engine/onnx_session.py",
    "openvino": "comp/engine/",
    "kaggle": "comp/submit/",
    "kagglesdk": "comp/submit/",
}
HEAVY = {"torch", "pandas", "sklearn", "pydantic", "numpy"}
# Old words that must not return as identifiers: they are speech or riddles, not the field's terms.
OLD_WORDS = {
    *(
        "about",
        "said",
        "told",
        "spoken",
        "wish",
        "voice",
        "voices",
        "shot",
        "hear",
        "flattered",
        "untempered",
        "parted",
    ),
    *("everyone", "everybody", "sureness", "truth", "took", "perhaps", "mend", "tell", "asked", "wanted", "thing"),
}
MAX_LINES = 300


def package_of(module: str) -> str:
    """Return the package or module below comp/: `comp.data.scan` -> data, `train` -> train."""
    names = module.split(".")
    return names[1] if names[0] == "comp" and len(names) > 1 else names[0]


def module_of(file: Path) -> str:
    names = file.relative_to(REPO_ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imports(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, also inside functions; `from comp import config` is comp.config."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file} has a relative import"
            yield from ([f"comp.{alias.name}" for alias in node.names] if node.module == "comp" else [node.module])


def imports_between_packages() -> Iterator[tuple[str, str, str]]:
    for file in FILES:
        for imported in imports(file):
            if imported.split(".")[0] in ("comp", "train", "infer"):
                yield file.relative_to(REPO_ROOT).as_posix(), package_of(module_of(file)), package_of(imported)


def test_layering_every_package_has_a_layer():
    assert {package_of(module_of(file)) for file in FILES} == set(LAYERS)


def test_layering_imports_run_downwards_or_are_allowed():
    upwards = [
        f"{file}: {importer} imports {imported}"
        for file, importer, imported in imports_between_packages()
        if importer != imported
        and (importer, imported) not in ALLOWED_IMPORTS
        and imported != "comp"
        and LAYERS[imported] >= LAYERS.get(importer, -1)
    ]
    assert not upwards


def test_layering_allowed_imports_are_all_used():
    assert set(ALLOWED_IMPORTS) <= {(importer, imported) for _, importer, imported in imports_between_packages()}


def test_layering_only_commands_import_the_papers():
    users = {importer for _, importer, imported in imports_between_packages() if imported == "papers"}
    assert users <= {"papers", "commands"}


@pytest.mark.parametrize(("library", "home"), WRAPPED_LIBRARIES.items())
def test_layering_wrapped_library_is_imported_in_one_place(library, home):
    users = [
        file.relative_to(REPO_ROOT).as_posix()
        for file in FILES
        if library in {name.split(".")[0] for name in imports(file)}
    ]
    assert users and all(user.startswith(home) for user in users)


def test_layering_no_file_is_a_collection_of_odds_and_ends():
    names = {name for file in FILES for name in file.relative_to(REPO_ROOT).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


def test_layering_no_file_is_longer_than_the_limit():
    lengths = {file.relative_to(REPO_ROOT).as_posix(): len(file.read_text().splitlines()) for file in FILES}
    assert not {file: length for file, length in lengths.items() if length > MAX_LINES}


def identifiers(file: Path) -> Iterator[str]:
    """Yield every name that a file defines: variables, parameters, functions, classes, attributes, fields."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_names_old_words_do_not_return():
    old_names = [
        f"{file.relative_to(REPO_ROOT)}: {name}"
        for file in FILES
        for name in identifiers(file)
        if OLD_WORDS & set(name.lower().strip("_").split("_"))
    ]
    assert not old_names


@pytest.mark.parametrize("command", ["train.py", "infer.py", "-m comp", *(f"-m comp {name}" for name in COMMANDS)])
def test_help_imports_nothing_heavy(command):
    process = subprocess.run(
        [sys.executable, "-X", "importtime", *command.split(), "--help"], cwd=REPO_ROOT, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in process.stderr.splitlines()}
    assert process.returncode == 0 and "usage:" in process.stdout
    assert "comp" in imported and not imported & HEAVY
