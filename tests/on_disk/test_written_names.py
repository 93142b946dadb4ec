"""The commands of commands.txt write the same files, keys and columns as at commit bb2c827.

Values are compared where they are names, choices or identities. Scores, times and weights are not.
"""

from __future__ import annotations

import csv
import json
import os
import re
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from comp.prediction_file import read_any_predictions
from tests.on_disk.replay import replay
from tests.on_disk.workspace import (
    HERE,
    MADE,
    REPO_ROOT,
    describe_keys,
    lay_out,
    read_checkpoint,
    read_json,
    table_today,
)


@pytest.fixture(scope="module")
def new_workspace(tmp_path_factory) -> Path:
    """A workspace where the current code ran the commands."""
    root, before = tmp_path_factory.mktemp("new"), Path.cwd()
    lay_out(root, "input")
    os.chdir(root)
    try:
        for line in (HERE / "commands.txt").read_text(encoding="utf-8").splitlines():
            status, stdout = replay(REPO_ROOT, line)
            assert status == (130 if line.startswith("interrupt") else 0), f"{line}: {stdout}"
    finally:
        os.chdir(before)
    return root


def without_added(keys: list[str], old_keys: list[str]) -> list[str]:
    """Return the keys without those that were added since: old code ignores keys that it does not know."""
    return [key for key in keys if key in set(old_keys)]


def keep_old_keys(content: Any, old_content: Any) -> Any:
    """Return a tree without the keys that were added since, at any depth."""
    if isinstance(content, dict) and isinstance(old_content, dict):
        return {key: keep_old_keys(value, old_content[key]) for key, value in content.items() if key in old_content}
    return content


def files_made(pattern: str) -> list[Path]:
    """Return the stored files of that pattern, below made/."""
    paths = [path.relative_to(MADE) for path in sorted(MADE.rglob("*")) if fnmatch(path.as_posix(), f"*/{pattern}")]
    assert paths, pattern
    return paths


def test_commands_write_the_same_files(new_workspace):
    paths = [path for path in new_workspace.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    names = {re.sub(r"again-\d+-\d+-\d+", "again-TIME", path.relative_to(new_workspace).as_posix()) for path in paths}
    caches = "runs/.cache/"  # made again by each version, under names of its own
    written = {name for name in names if not name.startswith(("configs/", "input/", caches))}
    old_names = (HERE / "files.txt").read_text().splitlines()
    kept = {name for name in old_names if not fnmatch(name, "*.from.json") and not is_table(name)}
    tables = filter(None, (table_today(new_workspace / name) for name in old_names if is_table(name)))
    kept |= {table.relative_to(new_workspace).as_posix() for table in tables}
    kept |= {name for name in old_names if name.endswith("/oof.csv")}  # for people
    added = {name for name in written if any(fnmatch(name, pattern) for pattern in ADDED)}
    assert added and written - added == {name for name in kept if not name.startswith(caches)}


ADDED = ("runs/few/study.json", "runs/few/figures/*.png")  # by versions after 0.3


TABLES = ("best.csv", "last.csv", "oof.csv", "test.csv", "test_fold*.csv")  # of predictions; x.npz today


def is_table(name: str) -> bool:
    return any(fnmatch(name, f"*/{pattern}") for pattern in TABLES)


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return what a table was made from: x.from.json, or a part of x.npz."""
    if path.exists():
        return read_json(path)
    table = table_today(path)
    stored = read_any_predictions(table) if table else None
    return {**stored.made_from.to_dict(), "sha256": stored.sha256} if stored else None


def read_rows(path: Path) -> list[list[str]] | None:
    """Return the rows of a CSV, or of the table of predictions that is written in its place."""
    if path.exists():
        return list(csv.reader(path.read_text().splitlines()))
    file = table_today(path)
    table = read_any_predictions(file).table.reset_index() if file else None
    return None if table is None else [list(table.columns), *table.astype(str).to_numpy().tolist()]


JSON_FILES = [
    *("run.json", "fold.json", "metrics.json", "cost.json", "*.from.json", "model.*.json", "blends/*/blend.json"),
    *("checks/*.json", "submissions/*.json", "folds/*.json", "stdout/*.json"),
]
CSV_FILES = [
    *("best.csv", "last.csv", "history.csv", "pretrain.csv", "oof.csv", "test.csv", "test_fold*.csv", "pairs.csv"),
    *("members.csv", "table.csv", "ledger.csv", "folds/*.csv", "submissions/*.csv"),
]


@pytest.mark.parametrize("pattern", JSON_FILES)
def test_json_files_have_the_same_keys(pattern, new_workspace):
    read = read_provenance if pattern == "*.from.json" else read_json
    for name in files_made(pattern):
        content, old_content = (read(root / name) for root in (new_workspace, MADE))
        if content is None:
            continue
        for record in (content, old_content):
            if name.name == "cost.json":  # its keys are machines
                record["machine"] = record.pop(next(iter(record)))
            if "git" in record:  # a temporary directory is in no repository
                record["git"]["commit"] = ""
        old_keys = list(describe_keys(old_content))
        assert without_added(list(describe_keys(content)), old_keys) == old_keys, name


@pytest.mark.parametrize("pattern", CSV_FILES)
def test_csv_files_have_the_same_columns_and_rows(pattern, new_workspace):
    for name in files_made(pattern):
        rows, old_rows = (read_rows(root / name) for root in (new_workspace, MADE))
        assert rows is None or (rows[0] == old_rows[0] and len(rows) == len(old_rows)), name


@pytest.mark.parametrize("patterns", [JSON_FILES, CSV_FILES], ids=["json", "csv"])
def test_every_stored_file_is_compared(patterns):
    suffix = Path(patterns[0]).suffix
    stored = {path.relative_to(MADE) for path in MADE.rglob(f"*{suffix}")} - set(MADE.glob("input/**"))
    compared = {path for pattern in patterns for path in files_made(pattern)}
    assert {path for path in stored if path.parts[0] != "input"} == compared


@pytest.mark.parametrize("pattern", ["weights.pt", "epoch*.pt", "resume.pt"])
def test_checkpoints_have_the_same_keys(pattern, new_workspace):
    for name in files_made(pattern):
        content, old_content = (read_checkpoint(root / name) for root in (new_workspace, MADE))
        added = [".origin: str"] if pattern == "resume.pt" else []
        assert list(describe_keys(content)) == [*describe_keys(old_content), *added], name


def test_pretrain_checkpoint_has_the_keys_of_a_training(new_workspace):
    content = read_checkpoint(new_workspace / "runs/stages/fold0/pretrain.pt")
    assert list(content) == ["kit", "schema", *read_checkpoint(MADE / "runs/cut/fold0/resume.pt")["fit"], "origin"]
    assert [list(row) for row in content["history"]] == 2 * [["epoch", "loss", "seconds", "val_loss"]]


def test_runs_have_the_same_identity(new_workspace):
    for name in files_made("run.json"):
        record, old_record = (read_json(root / name) for root in (new_workspace, MADE))
        changing = dict.fromkeys(("created", "git", "kernels"))  # kernels: fused where there is a compiler
        assert {**record, **changing}.items() >= {**old_record, **changing}.items(), name
    for name in files_made("*.from.json"):  # `images` was of sizes and times, and is of contents
        record, old_record = (read_provenance(root / name) for root in (new_workspace, MADE))
        if record is None:
            continue
        changing = dict.fromkeys(("weights", "images"))
        assert set(record) >= set(old_record), name
        assert {**record, **changing}.items() >= {**old_record, **changing}.items(), name
    for name in files_made("submissions/*.json"):
        manifest, old_manifest = (read_json(root / name) for root in (new_workspace, MADE))
        for key in ("schema", "id", "file", "competition", "classes", "images", "folds"):
            assert manifest[key] == old_manifest[key], (name, key)


@pytest.mark.parametrize("pattern", ["folds/*.csv", "FINAL"])
def test_files_without_times_have_the_same_bytes(pattern, new_workspace):
    for name in files_made(pattern):
        assert (new_workspace / name).read_text() == (MADE / name).read_text(), name


@pytest.mark.parametrize("pattern", ["config.yaml", "folds/*.json"])
def test_files_without_times_have_the_same_keys_values_and_order(pattern, new_workspace):
    for name in files_made(pattern):
        text, old_text = ((root / name).read_text() for root in (new_workspace, MADE))
        kept = keep_old_keys(yaml.safe_load(text), yaml.safe_load(old_text))  # JSON is YAML
        assert json.dumps(kept) == json.dumps(yaml.safe_load(old_text)), name
        assert text.splitlines()[0] == old_text.splitlines()[0], name


def test_ledger_has_the_same_events(new_workspace):
    columns = ("id", "event", "competition", "file", "message", "metric", "public", "private", "rank")
    events, old_events = (
        [[event[column] for column in columns] for event in csv.DictReader(text.splitlines())]
        for text in ((root / "submissions/ledger.csv").read_text() for root in (new_workspace, MADE))
    )
    assert events == old_events and {event[1] for event in events} == {"written", "sent", "scored"}


def test_study_journal_has_the_same_attribute_and_parameters(new_workspace):
    attributes, parameters, names = [], [], []
    for root in (new_workspace, MADE):
        lines = [json.loads(line) for line in (root / "runs/few/journal.log").read_text().splitlines()]
        attributes.append([line["user_attr"] for line in lines if "user_attr" in line])
        parameters.append([line["param_name"] for line in lines if "param_name" in line])
        names.append({line["study_name"] for line in lines if "study_name" in line})
    assert keep_old_keys(attributes[0][0], attributes[1][0]) == attributes[1][0] and len(attributes[0]) == 1
    assert list(attributes[0][0]) == ["asks"]
    assert parameters[0] == parameters[1] == 2 * ["optim.lr", "augment.policy"]
    assert names[0] == names[1] == {"few"}


def test_bundle_has_the_same_files_and_keys(new_workspace):
    names, keys, squares = [], [], []
    for root in (new_workspace, MADE):
        with zipfile.ZipFile(root / "runs/bundles/shipped.zip") as archive:
            record = json.loads(archive.read("bundle.json"))
            names.append([name for name in archive.namelist() if not name.startswith("comp/")])
            assert "comp/__init__.py" in archive.namelist()
        record["git"]["commit"] = ""  # a temporary directory is in no repository
        keys.append(list(describe_keys(record)))
        squares.append(list(record["members"][0]["square"].items()))
    assert names[0] == names[1] and without_added(*keys) == keys[1]
    assert squares[0] == squares[1] == [("size", 16), ("fit", "squash"), ("crop", None)]
