"""A manifest is read by path or id, and the manifests of past submissions keep their bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comp.errors import UserError
from comp.files import file_sha256
from comp.submit.ledger import latest_entries, read
from comp.submit.manifest import find_with_manifest, manifest_path, read_manifest
from tests.conftest import REPO_ROOT

PAST = REPO_ROOT / "submissions/resnet10t-96+d4.csv"


def test_read_manifest_past_submission_round_trips_to_same_bytes(tmp_path):
    manifest = read_manifest(PAST)
    manifest.write(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == manifest_path(PAST).read_bytes()
    assert manifest.sha256 == file_sha256(PAST)


def test_ledger_past_submission_has_score_of_its_manifest():
    entry = latest_entries(read(REPO_ROOT / "submissions/ledger.csv"))["resnet10t-96+d4"]
    oof = read_manifest(PAST).oof
    assert (entry.metric, entry.cv, (entry.cv_low, entry.cv_high)) == (oof.metric, oof.score, oof.interval)


@pytest.mark.parametrize("content", [[], {}, {"schema": 2}, {"schema": 1, "oof": 3}, {"schema": 1, "competition": 3}])
def test_read_manifest_invalid_content_names_file(tmp_path, content):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"x\.json.*; make the submission again with infer\.py"):
        read_manifest(tmp_path / "x.csv")


def test_find_with_manifest_json_submission_is_no_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("submissions").mkdir()
    Path("submissions/x.json").touch()
    assert find_with_manifest("x") == Path("submissions/x.csv")  # x.json is the manifest of x.csv, which is missing
    Path("submissions/x.about.json").touch()
    assert find_with_manifest("x") == Path("submissions/x.json")  # x.json is a submission with a manifest
