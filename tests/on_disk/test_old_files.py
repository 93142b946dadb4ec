"""Files that commit bb2c827 wrote still work: they are read, resumed and reproduced, and not needlessly recomputed.

made/ holds two finished runs, an interrupted one, blends, submissions, a ledger, exports, a study and a bundle.

Floats may differ in the last digits, because operations have changed since and machines differ, so weights and
probabilities have a tolerance. Labels, hashes and stored files are compared exactly.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from comp.prediction_file import read_any_predictions
from tests.on_disk.workspace import MADE, lay_out, read_checkpoint, read_json, run, table_today


@pytest.fixture
def old_workspace(tmp_path, monkeypatch) -> Path:
    """A copy of the old workspace, as the current directory."""
    lay_out(tmp_path, "configs", "input", "folds", "runs", "submissions")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_times(*patterns: str) -> dict[str, int]:
    """Return when each file was written."""
    paths = [path for pattern in patterns for path in Path().glob(pattern)]
    assert paths, patterns
    return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file() and path.name != ".lock"}


def assert_same_weights(path: Path, other: Path) -> None:
    weights, other_weights = (read_checkpoint(file)["state_dict"] for file in (path, other))
    assert list(weights) == list(other_weights)
    for key, value in weights.items():
        expected = other_weights[key]
        # A bias before a BatchNorm, whose gradient is rounding alone, drifts by up to 0.02.
        assert torch.allclose(value, expected, atol=0.05), key


def assert_same_table(path: Path, other: Path) -> None:
    tables = (read_any_predictions(file).table for file in (path, other))
    pd.testing.assert_frame_equal(*tables, rtol=0, atol=1e-2)


def test_leaderboard_old_runs_keep_their_scores(old_workspace):
    [group], [old_group] = (
        content["groups"]
        for content in (json.loads(run("comp", "leaderboard", "--json")), read_json(MADE / "stdout/leaderboard.json"))
    )
    entries, old_entries = (
        {entry["name"]: {**entry, "remark": ""} for entry in content["entries"]} for content in (group, old_group)
    )
    assert {"anna", "bert", "bert+soup", "cut", "few/trial_0000", "blends/both"} <= entries.keys()
    for entry in entries.values():
        if entry["against_best"]:
            assert entry["against_best"].pop("interval")  # which an earlier version did not print
    assert entries == {name: old_entries[name] for name in entries}
    assert {**group, "entries": None} == {**old_group, "entries": None}


def test_train_old_finished_run_is_not_trained_again(old_workspace):
    before = write_times("runs/**/*.pt", "folds/*", "runs/bert/fold*/*")
    run("comp", "folds", "-c", "configs/anna.yaml")
    run("train.py", "-c", "configs/bert.yaml")
    run("train.py", "-c", "runs/bert/config.yaml", "--fold", "full")
    run("comp", "soup", "bert")
    assert write_times("runs/**/*.pt", "folds/*", "runs/bert/fold*/*") == before
    for name in ("config.yaml", "predictions/identity/oof.csv"):
        assert Path("runs/bert", name).read_bytes() == (MADE / "runs/bert" / name).read_bytes(), name
    now, then = (json.loads((runs / "bert/metrics.json").read_text()) for runs in (Path("runs"), MADE / "runs"))
    assert now == {**now, **then}  # keys may be added


def test_train_old_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(old_workspace):
    cut, whole = Path("runs/cut/fold0"), Path("runs/whole/fold0")
    old_record, old_history = read_json(cut / "fold.json"), (cut / "history.csv").read_text()
    assert old_record["status"] == "running" and old_history.count("\n") == 1 + 5
    assert read_checkpoint(cut / "resume.pt")["fit"]["step"] == 22  # of 4 an epoch: in the middle of epoch 6
    run("train.py", "-c", "runs/cut/config.yaml", "--fold", "0")
    run("train.py", "-c", "configs/anna.yaml", "--name", "whole", "--fold", "0")
    record = read_json(cut / "fold.json")
    assert (record["status"], record["epochs"]) == ("done", 16) and not (cut / "resume.pt").exists()
    assert (cut / "history.csv").read_text().startswith(old_history)

    assert_same_weights(cut / "weights.pt", whole / "weights.pt")
    assert_same_weights(MADE / "runs/anna/fold0/weights.pt", whole / "weights.pt")
    assert_same_table(cut / "last.npz", whole / "last.npz")
    columns = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    history, whole_history = (pd.read_csv(fold / "history.csv")[columns] for fold in (cut, whole))
    pd.testing.assert_frame_equal(history, whole_history, atol=1e-2)


INFER_ARGUMENTS = {
    "anna": "anna",
    "bert+full": "bert --fold full",
    "anna+bert+geometric+none+no-temperature": "anna bert --blend geometric --tta none --no-temperature",
    "both": "anna bert --blend stack --name both",
    "bert-onnx": "bert --runtime onnx --tta none --name bert-onnx",
}
SAME_KEYS = (
    "schema",
    "id",
    "file",
    "sha256",
    "command",
    "competition",
    "classes",
    "full",
    "members",
    "folds",
    "images",
)


def approximate(value: Any) -> Any:
    """Return JSON content that equals content whose floats differ in the last digits: blends are fitted again."""
    if isinstance(value, dict):
        return {key: approximate(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [approximate(inner) for inner in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


@pytest.mark.parametrize("name", INFER_ARGUMENTS)
def test_infer_old_predictions_are_used_as_they_are(name, old_workspace):
    computed = ("runs/*/predictions/**/*.csv", "runs/*/fold*/model.*")
    before, submission = write_times(*computed), Path(f"submissions/{name}.csv")
    submission.unlink()
    run("infer.py", *INFER_ARGUMENTS[name].split())
    assert write_times(*computed) == before
    assert submission.read_bytes() == (MADE / submission).read_bytes()
    manifest, old_manifest = (read_json(root / f"submissions/{name}.json") for root in (old_workspace, MADE))
    assert [manifest[key] for key in SAME_KEYS] == [old_manifest[key] for key in SAME_KEYS]
    assert [manifest["blend"], manifest["oof"]] == approximate([old_manifest["blend"], old_manifest["oof"]])


def test_infer_old_weights_give_the_same_predictions(old_workspace):
    tables = [
        path.relative_to(MADE) for run in ("anna", "bert") for path in MADE.glob(f"runs/{run}/predictions/**/*.csv")
    ]
    assert len(tables) == 28
    for run_name in ("anna", "bert"):
        shutil.rmtree(f"runs/{run_name}/predictions")
    for name, arguments in INFER_ARGUMENTS.items():
        Path(f"submissions/{name}.csv").unlink()
        run("infer.py", *arguments.split())
        assert Path(f"submissions/{name}.csv").read_bytes() == (MADE / f"submissions/{name}.csv").read_bytes(), name
    for table in tables:
        if file := table_today(Path(table)):
            assert_same_table(file, MADE / table)


def test_tune_old_study_is_complete_with_the_same_winner(old_workspace):
    before, winner = write_times("runs/few/*/*/weights.pt"), Path("configs/studies/few.winner.yaml")
    winner.unlink()
    run("comp", "tune", "configs/studies/few.yaml", "--trials", "2")
    assert write_times("runs/few/*/*/weights.pt") == before
    assert yaml.safe_load(winner.read_text()) == yaml.safe_load((MADE / winner).read_text())
    journal = [json.loads(line) for line in Path("runs/few/journal.log").read_text().splitlines()]
    assert sum("datetime_start" in line for line in journal) == 2  # no trial was added


def test_submit_old_submissions_are_checked_and_listed(old_workspace):
    ledger = Path("submissions/ledger.csv").read_bytes()
    run("comp", "submit", "check", "shipped")
    run("comp", "submit", "check", "both", status=1)  # it was sent
    stdout = run("comp", "submit", "status", "-c", "configs/anna.yaml")
    assert all(text in stdout for text in ("both", "0.7500", "0.5000", "0.6250", "first, of two"))
    assert Path("runs/submissions/tiny.png").is_file() and Path("submissions/ledger.csv").read_bytes() == ledger


@pytest.mark.parametrize("name", ["both", "bert-onnx", "bert+full"])
def test_submit_reproduce_old_submission_has_the_same_bytes(name, old_workspace):
    submission = Path(f"submissions/{name}.csv")
    shutil.rmtree("runs/anna/predictions")
    run("comp", "submit", "reproduce", name)
    submission.unlink()
    run("comp", "submit", "reproduce", str(submission))
    assert submission.read_bytes() == (MADE / submission).read_bytes()


def test_submit_log_appends_a_line_and_final_is_one_line(old_workspace):
    ledger, message = Path("submissions/ledger.csv"), 'it said "no", twice'
    old_text = ledger.read_text()
    run("comp", "submit", "log", "both", "--public", "0.75", "--private", "0.625", "--message", message)
    run("comp", "submit", "final", "anna")
    text, sha256 = ledger.read_text(), read_json("submissions/both.json")["sha256"]
    assert text.startswith(old_text)
    [line] = csv.reader([text.removeprefix(old_text)])
    time = line[1]
    assert line == ["both", time, "scored", "tiny", "submissions/both.csv", sha256, message, "", "", "", "", "0.75",
                    "0.625", ""]  # fmt: skip
    assert Path("submissions/FINAL").read_text() == "submissions/anna.csv\n"


@pytest.mark.slow  # slow because only a new library or machine can break it: it runs none of today's code
def test_bundle_old_zip_writes_the_same_bytes_with_its_own_code(tmp_path):
    bundle, competition, work = (tmp_path / name for name in ("input/bundle", "input/competition", "work"))
    with zipfile.ZipFile(MADE / "runs/bundles/shipped.zip") as archive:
        archive.extractall(bundle)
    shutil.copytree(MADE / "input/tiny/test", competition / "test")
    shutil.copy(MADE / "input/tiny/sample_submission.csv", competition)
    work.mkdir()
    cells = read_json(bundle / "notebook.ipynb")["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    process = subprocess.run(
        [sys.executable, "-I", "-c", "\n".join([*code, "import comp", "print(comp.__file__)"])],
        cwd=work,
        capture_output=True,
        text=True,
        env={**os.environ, "COMP_INPUT": str(tmp_path / "input")},
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == str(bundle / "comp" / "__init__.py")
    assert (work / "submission.csv").read_bytes() == (MADE / "submissions/shipped.csv").read_bytes()


def test_infer_d4_writes_a_directory_per_view(old_workspace):
    run("infer.py", "bert", "--tta", "d4", "--name", "d4")
    views = {"identity", "rot90", "rot180", "rot270", "hflip", "transpose", "vflip", "antitranspose"}
    assert {path.name for path in Path("runs/bert/predictions").iterdir()} == {*views, "full", "onnx", "cost.json"}
    [member] = read_json("submissions/d4.json")["blend"]["parts"]
    assert set(member["views"]) == views


def test_infer_json_sample_has_its_manifest_in_about_json(old_workspace):
    rows = [{"image": path.name, "label": 0} for path in Path("input/tiny/test").iterdir()]
    Path("input/tiny/sample_submission.csv").unlink()
    Path("input/tiny/sample_submission.json").write_text(json.dumps(rows))
    run("infer.py", "bert", "--name", "listed")
    manifest, submission = read_json("submissions/listed.about.json"), Path("submissions/listed.json")
    assert manifest["file"] == "listed.json"
    assert manifest["sha256"] == hashlib.sha256(submission.read_bytes()).hexdigest()
