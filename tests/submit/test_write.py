"""A submission is written together with its manifest and a line in the ledger; after a failure none of them is."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.records.blend import MemberRecord, OofSummary
from comp.records.submission import Competition, SubmissionManifest
from comp.submit.ledger import append, read
from comp.submit.ledger_lines import Event
from comp.submit.manifest import find_submission, manifest_path, read_manifest, submission_id
from comp.submit.sample import fill_table
from comp.submit.submission_table import SubmissionTable, read_table
from comp.submit.write import write_submission
from tests.submit.example import LEDGER, MANIFEST, NAMES, PREDICTIONS, make_dataset

OOF = OofSummary("accuracy", 0.9, (0.8, 0.95), 0.9, 0.3, 0.01, (0.9,), 4)
MEMBER = MemberRecord("a", "runs/a", "torch", {"0": "5e"})


def test_write_submission_manifest_has_identity_and_hash(sample):
    path = write_submission(
        "a/b", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), replace(MANIFEST, members=(MEMBER,))
    )
    manifest = json.loads(manifest_path(path).read_text())
    assert path == Path("submissions/a/b.csv") and manifest_path(path) == Path("submissions/a/b.json")
    assert datetime.fromisoformat(manifest.pop("created")).tzinfo is not None
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(manifest)[:4] == ["schema", "id", "file", "sha256"]
    expected = replace(MANIFEST, id="a/b", file="b.csv", sha256=sha256, members=(MEMBER,)).to_dict()
    del expected["created"]
    assert manifest == expected


def test_write_submission_ledger_has_one_event_per_content(sample):
    sample_table, other = read_table(sample(NAMES)), read_table(sample(NAMES.replace("img_1.jpg,mono\n", "")))
    path = write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), replace(MANIFEST, oof=OOF))
    write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST)
    (event,) = read(LEDGER)
    assert event == Event(
        "mine",
        event.time,
        "written",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        competition="cells",
        file="submissions/mine.csv",
        metric="accuracy",
        cv=0.9,
        cv_low=0.8,
        cv_high=0.95,
    )
    write_submission("mine", fill_table(other, PREDICTIONS, make_dataset()), MANIFEST)
    write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST)
    assert [event.event for event in read(LEDGER)] == ["written"] * 3


def test_write_submission_sent_file_is_not_overwritten(sample):
    sample_table, other = read_table(sample(NAMES)), read_table(sample(NAMES.replace("img_1.jpg,mono\n", "")))
    path = write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST)
    append(LEDGER, Event("mine", "2025-11-21", "sent", read(LEDGER)[0].sha256, competition="cells", file=str(path)))
    before = {file: file.read_bytes() for file in Path("submissions").iterdir()}
    with pytest.raises(UserError, match=r"was sent with another content.*--name"):
        write_submission("mine", fill_table(other, PREDICTIONS, make_dataset()), MANIFEST)
    assert {file: file.read_bytes() for file in Path("submissions").iterdir()} == before
    assert (
        write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST) == path
    )  # the same content is allowed


def test_write_submission_another_file_that_was_sent_is_no_obstacle(sample):
    append(LEDGER, Event("other", "2025-11-21", "sent", "5e", competition="cells", file="submissions/other.csv"))
    filled = fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset())
    assert write_submission("mine", filled, MANIFEST).is_file()


@pytest.mark.parametrize("ledger", [str(LEDGER), "runs/demo/ledger.csv"])
def test_write_submission_path_of_ledger_is_refused(sample, ledger):
    manifest = SubmissionManifest(competition=Competition("cells", "input/cells", ledger))
    with pytest.raises(UserError, match="is the path of the ledger"):
        write_submission("ledger", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), manifest)
    assert not LEDGER.exists()


@pytest.mark.parametrize("writes", range(3))
def test_write_submission_killed_after_any_write_is_completed_by_next(sample, writes, monkeypatch):
    filled = fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset())
    remaining, rename = iter([True] * writes), os.replace

    def interrupt(*names):
        if not next(remaining, False):
            raise KeyboardInterrupt
        rename(*names)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupt)
        write_submission("mine", filled, MANIFEST)
    assert {file.name for file in Path("submissions").glob("mine*")} == set(["mine.json", "mine.csv"][:writes])
    path = write_submission("mine", filled, MANIFEST)
    assert read_manifest(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == read(LEDGER)[0].sha256


def test_write_submission_broken_ledger_writes_nothing(sample):
    LEDGER.parent.mkdir()
    LEDGER.write_text("<<<<<<< HEAD\n")
    with pytest.raises(UserError, match="line 1 is not an event"):
        write_submission("mine", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), MANIFEST)
    assert not Path("submissions/mine.csv").exists()


def test_find_submission_accepts_path_and_id(sample):
    path = write_submission("a/b.c", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), MANIFEST)
    assert find_submission("a/b.c") == find_submission("submissions/a/b.c.csv") == path
    assert submission_id(path) == submission_id(path.absolute()) == "a/b.c" and submission_id(Path("/x/y.csv")) == "y"
    with pytest.raises(UserError, match=r"there is no submission a/b; did you mean a/b.c\?"):
        find_submission("a/b")


def test_write_submission_json_has_manifest_under_other_name(sample):
    filled = fill_table(read_table(sample('{"img_1": 0}', "json")), PREDICTIONS, make_dataset())
    path = write_submission("mine", filled, replace(MANIFEST, members=(MEMBER,)))
    assert json.loads(path.read_text()) == {"img_1": 2}
    assert read_manifest(path).members == (MEMBER,) and Path("submissions/mine.about.json").is_file()


def test_write_submission_that_does_not_read_back_fails(sample):
    with pytest.raises(UserError, match="does not read back"):
        write_submission("mine", SubmissionTable(("id", "label"), (("a\r\nb", "x"),), newline="\n"), MANIFEST)
