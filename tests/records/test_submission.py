"""The JSON beside a submission is read and written without a change."""

from __future__ import annotations

import json

import pytest

from comp.errors import UserError
from comp.records.submission import SubmissionManifest

MANIFEST = {
    "schema": 1,
    "id": "a+b",
    "file": "a+b.csv",
    "sha256": "0" * 64,
    "created": "2026-11-21T12:57:55+00:00",
    "command": "infer.py a b",
    "competition": {
        "name": "tiny",
        "root": "input/tiny",
        "ledger": "submissions/ledger.csv",
        "kaggle": None,
        "per_day": 5,
        "public_share": 1.0,
    },
    "classes": ["x", "y"],
    "full": False,
    "blend": {
        "method": "stack",
        "parts": [
            {"name": name, "views": ["identity"], "temperature": 0.44419228191228477, "weight": None} for name in "ab"
        ],
        "stack": {"coefficients": [[0.1, -0.1, 0.2, 1 / 3], [0.0, 1.0, 2.0, 3.0]], "intercepts": [0.5, -0.5]},
    },
    "members": [
        {"run": name, "path": f"runs/{name}", "runtime": "torch", "weights_sha256": {"1": "1" * 64, "0": "2" * 64}}
        for name in "ab"
    ],
    "folds": {"file": "folds/tiny.csv", "sha256": "3" * 64},
    "images": {"train_list_sha256": "4" * 64, "test_sha256": "5" * 64, "sample_sha256": None},
    "oof": {
        "metric": "accuracy",
        "score": 0.9,
        "interval": [0.85, 0.95],
        "naive": 0.91,
        "log_loss": 0.3,
        "calibration_error": 0.02,
        "per_fold": [0.88, 0.92],
        "images": 48,
    },
    "git": {"commit": None, "dirty": False},
    "versions": {"python": "3.11.0", "torch": "2.11.0"},
}


@pytest.mark.parametrize("content", [MANIFEST, {**MANIFEST, "full": True, "oof": None}])
def test_submission_manifest_round_trip_keeps_every_key_and_digit_in_order(content):
    assert json.dumps(SubmissionManifest.from_dict(content, "a+b.json").to_dict()) == json.dumps(content)


def test_submission_manifest_from_elsewhere_may_lack_what_only_reproduction_needs():
    manifest = SubmissionManifest.from_dict({"schema": 1, "competition": MANIFEST["competition"]}, "x.json")
    assert manifest.competition.name == "tiny" and manifest.blend.parts == () and manifest.oof is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "x.json has schema 2, and this version reads 1; make the submission again with infer.py"),
        ({"competition": 3}, "x.json: competition: "),
        ({"oof": {"images": 48}}, "x.json: oof.metric: field required; make the submission again with infer.py"),
    ],
)
def test_submission_manifest_wrong_content_is_one_line(change, message):
    with pytest.raises(UserError) as caught:
        SubmissionManifest.from_dict({**MANIFEST, **change}, "x.json")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
