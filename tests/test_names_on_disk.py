"""The names in every file: what the current code writes has the files, keys and columns of commit bb2c827.

`fresh` is a workspace where the current code ran tests/artefacts/commands.txt; made/ has what they left at bb2c827.
Values are compared where they are names, choices or identities, not where they are figures.
"""

from __future__ import annotations

import csv
import json
import os
import re
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.artefacts.replay import replay
from tests.artefacts.workspace import ARTEFACTS, MADE, ROOT, checkpoint, lay_out, names_in, read_json


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """What the current code leaves after the same commands."""
    place, before = tmp_path_factory.mktemp("fresh"), Path.cwd()
    lay_out(place, "input")
    os.chdir(place)
    try:
        for line in (ARTEFACTS / "commands.txt").read_text(encoding="utf-8").splitlines():
            status, printed = replay(ROOT, line)
            assert status == (130 if line.startswith("interrupt") else 0), f"{line}: {printed}"
    finally:
        os.chdir(before)
    return place


def test_every_file_has_its_name(fresh):
    made = {
        re.sub(r"again-\d+-\d+-\d+", "again-TIME", path.relative_to(fresh).as_posix())
        for path in fresh.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }
    known = set((ARTEFACTS / "files.txt").read_text().splitlines())
    assert {name for name in made if not name.startswith(("configs/", "input/"))} == known


RECORDS = (
    "run.json",
    "fold.json",
    "metrics.json",
    "cost.json",
    "*.from.json",
    "model.*.json",
    "blends/*/blend.json",
    "checks/*.json",
    "submissions/*.json",
    "folds/*.json",
    "stdout/*.json",
)


@pytest.mark.parametrize("pattern", RECORDS)
def test_records_have_their_keys(pattern, fresh):
    files = made_files(pattern)
    for name in files:
        now, then = (read_json(place / name) for place in (fresh, MADE))
        if name.name == "cost.json":  # a key is a machine
            now, then = ({"machine": next(iter(content.values()))} for content in (now, then))
        for content in (now, then):
            if "commit" in content.get("git", {}):  # there is none outside a repository
                content["git"]["commit"] = ""
        assert list(names_in(now)) == list(names_in(then)), name


def made_files(pattern: str) -> list[Path]:
    files = [path.relative_to(MADE) for path in sorted(MADE.rglob("*")) if fnmatch(path.as_posix(), f"*/{pattern}")]
    assert files, pattern
    return files


def test_every_kind_of_record_is_compared():
    known = {path for pattern in RECORDS for path in made_files(pattern)}
    assert known == set(
        made_files("runs/*.json")
        + made_files("submissions/*.json")
        + made_files("folds/*.json")
        + made_files("stdout/*.json")
    )


def test_what_identifies_a_run_has_its_values(fresh):
    changing = ("created", "git", "kernels")
    for name in made_files("run.json"):
        now, then = (read_json(place / name) for place in (fresh, MADE))
        assert {**now, **dict.fromkeys(changing)} == {**then, **dict.fromkeys(changing)}, name
    for name in made_files("*.from.json"):  # with the cache's key
        now, then = ({**read_json(place / name), "weights": None} for place in (fresh, MADE))
        assert now == then, name
    for name in made_files("submissions/*.json"):
        now, then = (read_json(place / name) for place in (fresh, MADE))
        assert [now[key] for key in ("schema", "id", "file", "competition", "classes", "images", "folds")] == [
            then[key] for key in ("schema", "id", "file", "competition", "classes", "images", "folds")
        ], name


@pytest.mark.parametrize("pattern", ["config.yaml", "folds/tiny.*", "folds/official.*", "FINAL"])
def test_files_without_times_have_their_bytes(pattern, fresh):
    for name in made_files(pattern):
        assert (fresh / name).read_text() == (MADE / name).read_text(), name


TABLES = (
    "best.csv",
    "last.csv",
    "history.csv",
    "pretrain.csv",
    "oof.csv",
    "test.csv",
    "test_fold*.csv",
    "pairs.csv",
    "members.csv",
    "table.csv",
    "ledger.csv",
    "folds/*.csv",
    "submissions/*.csv",
)


@pytest.mark.parametrize("pattern", TABLES)
def test_tables_have_their_columns(pattern, fresh):
    for name in made_files(pattern):
        now, then = (list(csv.reader((place / name).read_text().splitlines())) for place in (fresh, MADE))
        assert now[0] == then[0] and len(now) == len(then), name


def test_every_kind_of_table_is_compared():
    known = {path for pattern in TABLES for path in made_files(pattern)}
    assert known == set(made_files("runs/*.csv") + made_files("submissions/*.csv") + made_files("folds/*.csv"))


def test_the_ledger_has_its_events(fresh):
    now, then = (
        list(csv.DictReader((place / "submissions/ledger.csv").read_text().splitlines())) for place in (fresh, MADE)
    )
    kept = ("id", "event", "competition", "file", "message", "metric", "public", "private", "rank")
    assert [[event[key] for key in kept] for event in now] == [[event[key] for key in kept] for event in then]
    assert {event["event"] for event in now} == {"written", "sent", "scored"}


@pytest.mark.parametrize("pattern", ["weights.pt", "epoch*.pt", "resume.pt"])
def test_checkpoints_have_their_keys(pattern, fresh):
    for name in made_files(pattern):
        assert list(names_in(checkpoint(fresh / name))) == list(names_in(checkpoint(MADE / name))), name


def test_a_reconstruction_is_saved_under_the_same_keys_as_a_training(fresh):
    fit = checkpoint(MADE / "runs/cut/fold0/resume.pt")["fit"]
    assert list(checkpoint(fresh / "runs/stages/fold0/pretrain.pt")) == ["kit", "schema", *fit]
    assert [list(row) for row in checkpoint(fresh / "runs/stages/fold0/pretrain.pt")["history"]] == 2 * [
        ["epoch", "loss", "seconds", "val_loss"]
    ]


def test_a_study_has_its_attribute_and_its_parameters(fresh):
    now, then = ((place / "runs/few/journal.log").read_text() for place in (fresh, MADE))
    found = []
    for text in (now, then):
        lines = list(map(json.loads, text.splitlines()))
        found.append(
            (
                [line["user_attr"] for line in lines if "user_attr" in line],
                [line["param_name"] for line in lines if "param_name" in line],
                {line["study_name"] for line in lines if "study_name" in line},
            )
        )
    assert found[0] == found[1] and list(found[0][0][0]) == ["asks"] and found[0][2] == {"few"}


def test_a_bundle_has_its_files_and_keys(fresh):
    contents = []
    for place in (fresh, MADE):
        with zipfile.ZipFile(place / "runs/bundles/shipped.zip") as packed:
            names = [name for name in packed.namelist() if not name.startswith("comp/")]
            about = json.loads(packed.read("bundle.json"))
            assert any(name.startswith("comp/") for name in packed.namelist())
        about["git"]["commit"] = ""
        contents.append((names, list(names_in(about)), about["members"][0]["square"]))
    assert contents[0] == contents[1] and list(contents[0][2].items()) == [
        ("size", 16),
        ("fit", "squash"),
        ("crop", None),
    ]
