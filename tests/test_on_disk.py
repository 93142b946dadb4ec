"""What commit bb2c827 left on disk, under the current code: it is read, gone on with, and made again.

tests/artefacts/made/ has two finished runs, one interrupted, blends, submissions, a ledger, exports, a study, a bundle.

Bits are compared where the machine is that of the recorded run (processor, threads, torch, numpy). Elsewhere floats
may differ in the last digits, so probabilities and weights have a tolerance there; labels, hashes and stored files
never do.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from tests.artefacts.workspace import MADE, checkpoint, lay_out, read_json, run


@pytest.fixture
def old(tmp_path, monkeypatch) -> Path:
    """What bb2c827 left, as the current directory."""
    lay_out(tmp_path, "configs", "input", "folds", "runs", "submissions")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def machine(fold: dict[str, Any]) -> tuple:
    """What the bits of a training depend on, of a fold.json."""
    return fold["device_name"], fold["threads"], fold["versions"]["torch"], fold["versions"]["numpy"]


def assert_close(one: Path | str, other: Path | str, exact: bool) -> None:
    """Two tables of predictions, or two checkpoints' weights."""
    if str(one).endswith(".csv"):
        tables = [pd.read_csv(path) for path in (one, other)]
        pd.testing.assert_frame_equal(*tables, check_exact=exact, rtol=0, atol=0 if exact else 1e-3)
    else:
        ours, theirs = (checkpoint(path)["state_dict"] for path in (one, other))
        assert list(ours) == list(theirs)
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]) if exact else torch.allclose(value, theirs[key], atol=1e-2), key


def stamps(pattern: str) -> dict[str, int]:
    """When each of these files was written."""
    found = {
        str(path): path.stat().st_mtime_ns for path in Path().glob(pattern) if path.is_file() and path.name != ".lock"
    }
    assert found, pattern
    return found


def test_old_runs_are_listed_with_their_scores(old):
    now, then = (
        json.loads(text)
        for text in (run("comp", "leaderboard", "--json"), (MADE / "stdout" / "leaderboard.json").read_text())
    )
    [now], [then] = now["groups"], then["groups"]
    entries = {entry["name"]: entry for entry in then["entries"]}
    assert {"anna", "bert", "bert+soup", "cut", "few/trial_0000", "blends/both"} <= {e["name"] for e in now["entries"]}
    for entry in now["entries"]:
        before = entries[entry["name"]]
        assert {**entry, "remark": ""} == {**before, "remark": ""}
    assert (now["best"], now["folds_sha256"], now["metric"]) == (then["best"], then["folds_sha256"], then["metric"])


def test_old_training_is_finished_and_its_split_the_same(old):
    before = stamps("runs/**/*.pt") | stamps("folds/*") | stamps("runs/bert/fold*/*")
    run("comp", "folds", "-c", "configs/anna.yaml")
    run("train.py", "-c", "configs/bert.yaml")
    run("train.py", "-c", "runs/bert/config.yaml", "--fold", "full")
    run("comp", "soup", "bert")
    assert stamps("runs/**/*.pt") | stamps("folds/*") | stamps("runs/bert/fold*/*") == before
    for name in ("runs/bert/metrics.json", "runs/bert/config.yaml", "runs/bert/predictions/identity/oof.csv"):
        assert Path(name).read_bytes() == (MADE / name).read_bytes(), name


INFERRED = {
    "anna": ["anna"],
    "bert+full": ["bert", "--fold", "full"],
    "anna+bert+geometric+none+no-temperature": [
        "anna",
        "bert",
        "--blend",
        "geometric",
        "--tta",
        "none",
        "--no-temperature",
    ],
    "both": ["anna", "bert", "--blend", "stack", "--name", "both"],
    "bert-onnx": ["bert", "--runtime", "onnx", "--tta", "none", "--name", "bert-onnx"],
}


@pytest.mark.parametrize("name", INFERRED)
def test_old_predictions_are_taken_as_they_are(name, old):
    before = stamps("runs/*/predictions/**/*.csv") | stamps("runs/*/fold*/model.*")
    file = Path(f"submissions/{name}.csv")
    file.unlink()
    run("infer.py", *INFERRED[name])
    assert stamps("runs/*/predictions/**/*.csv") | stamps("runs/*/fold*/model.*") == before
    assert file.read_bytes() == (MADE / file).read_bytes()
    now, then = (read_json(place / f"submissions/{name}.json") for place in (old, MADE))
    assert {
        key: now[key]
        for key in ("id", "file", "sha256", "command", "competition", "classes", "full", "members", "folds", "images")
    } == {
        key: then[key]
        for key in ("id", "file", "sha256", "command", "competition", "classes", "full", "members", "folds", "images")
    }
    assert flat(now["blend"]) == approx(flat(then["blend"])) and flat(now["oof"]) == approx(flat(then["oof"]))


def flat(value: Any, at: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {place: each for key, inner in pairs for place, each in flat(inner, f"{at}/{key}").items()}
    return {at: value}


def approx(values: dict[str, Any]) -> dict[str, Any]:
    """Fitted on another machine, a number may differ in its last digits."""
    return {key: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value for key, value in values.items()}


def test_old_weights_predict_the_same(old):
    tables = [
        path.relative_to(MADE)
        for run in ("anna", "bert")
        for path in (MADE / "runs" / run / "predictions").rglob("*.csv")
    ]
    shutil.rmtree("runs/anna/predictions")
    shutil.rmtree("runs/bert/predictions")
    for path in Path("submissions").glob("*.csv"):
        if path.name != "ledger.csv":
            path.unlink()
    for words in INFERRED.values():
        run("infer.py", *words)
    assert len(tables) == 28
    for table in tables:
        assert_close(table, MADE / table, exact=False)
    for name in INFERRED:
        assert Path(f"submissions/{name}.csv").read_bytes() == (MADE / f"submissions/{name}.csv").read_bytes(), name


def test_an_old_training_goes_on_to_the_weights_of_an_uninterrupted_one(old):
    before, rows = read_json("runs/cut/fold0/fold.json"), Path("runs/cut/fold0/history.csv").read_text()
    assert before["status"] == "running" and checkpoint("runs/cut/fold0/resume.pt")["fit"]["step"] == 22
    run("train.py", "-c", "runs/cut/config.yaml", "--fold", "0")
    run("train.py", "-c", "configs/anna.yaml", "--name", "whole", "--fold", "0")
    cut, whole = Path("runs/cut/fold0"), Path("runs/whole/fold0")
    assert (cut / "history.csv").read_text().startswith(rows) and rows.count("\n") == 1 + 5  # not trained again
    done = read_json(cut / "fold.json")
    assert (done["status"], done["epochs"]) == ("done", 16) and not (cut / "resume.pt").exists()
    exact = machine(before) == machine(read_json(whole / "fold.json"))
    assert_close(cut / "weights.pt", whole / "weights.pt", exact)
    assert_close(cut / "last.csv", whole / "last.csv", exact)
    assert_close(MADE / "runs/anna/fold0/weights.pt", whole / "weights.pt", exact)  # as bb2c827 trained it to its end
    exact_columns = ["epoch", "step", "lr", "train_loss", "val_loss", "val_score"]
    histories = [pd.read_csv(place / "history.csv")[exact_columns] for place in (cut, whole)]
    pd.testing.assert_frame_equal(*histories, check_exact=exact, atol=1e-2)


def test_an_old_study_is_complete_and_names_the_same_winner(old):
    before, journal = stamps("runs/few/*/*/weights.pt"), Path("runs/few/journal.log").read_text()
    winner = Path("configs/studies/few.winner.yaml")
    winner.unlink()
    run("comp", "tune", "configs/studies/few.yaml", "--trials", "2")
    assert stamps("runs/few/*/*/weights.pt") == before
    assert yaml.safe_load(winner.read_text()) == yaml.safe_load((MADE / winner).read_text())
    assert len(list(study_trials(Path("runs/few/journal.log").read_text()))) == len(list(study_trials(journal))) == 2


def study_trials(journal: str) -> Iterator[dict]:
    return (line for line in map(json.loads, journal.splitlines()) if "datetime_start" in line)


def test_an_old_submission_is_checked_reproduced_and_counted(old):
    ledger = Path("submissions/ledger.csv").read_bytes()
    run("comp", "submit", "check", "shipped")
    run("comp", "submit", "check", "both", status=1)  # it was sent
    shutil.rmtree("runs/anna/predictions")
    for name in ("both", "bert-onnx", "bert+full"):
        file = Path(f"submissions/{name}.csv")
        run("comp", "submit", "reproduce", name)
        file.unlink()
        run("comp", "submit", "reproduce", str(file))
        assert file.read_bytes() == (MADE / file).read_bytes()
    printed = run("comp", "submit", "status", "-c", "configs/anna.yaml")
    assert all(text in printed for text in ("0.7500", "0.5000", "0.6250", "first, of two", "FINAL is both"))
    assert Path("runs/submissions/tiny.png").is_file() and Path("submissions/ledger.csv").read_bytes() == ledger


def test_the_ledger_grows_by_lines_and_final_is_a_line(old):
    ledger = Path("submissions/ledger.csv").read_text()
    run("comp", "submit", "log", "both", "--public", "0.75", "--private", "0.625", "--message", 'it said "no", twice')
    run("comp", "submit", "final", "anna")
    text = Path("submissions/ledger.csv").read_text()
    assert text.startswith(ledger) and text.count("\n") == ledger.count("\n") + 1
    *_, event = csv.DictReader(text.splitlines())
    assert {**event, "time": ""} == {
        "id": "both",
        "time": "",
        "event": "scored",
        "competition": "tiny",
        "file": "submissions/both.csv",
        "sha256": read_json("submissions/both.json")["sha256"],
        "message": 'it said "no", twice',
        "metric": "",
        "cv": "",
        "cv_low": "",
        "cv_high": "",
        "public": "0.75",
        "private": "0.625",
        "rank": "",
    }
    assert Path("submissions/FINAL").read_text() == "submissions/anna.csv\n"


def test_an_old_bundle_writes_its_submission_with_its_own_code(tmp_path):
    bundle, competition, work = (tmp_path / name for name in ("input/bundle", "input/competition", "work"))
    with zipfile.ZipFile(MADE / "runs/bundles/shipped.zip") as packed:
        packed.extractall(bundle)
    shutil.copytree(MADE / "input/tiny/test", competition / "test")
    shutil.copy(MADE / "input/tiny/sample_submission.csv", competition)
    work.mkdir()
    cells = [cell["source"] for cell in read_json(bundle / "notebook.ipynb")["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(["".join(cell) for cell in cells] + ["import comp", "print(comp.__file__)"])
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=work,
        capture_output=True,
        text=True,
        env={**os.environ, "COMP_INPUT": str(tmp_path / "input")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(bundle / "comp" / "__init__.py")
    assert (work / "submission.csv").read_bytes() == (MADE / "submissions/shipped.csv").read_bytes()


def test_views_are_directories(old):
    run("infer.py", "bert", "--tta", "d4", "--name", "d4")
    views = {"identity", "rot90", "rot180", "rot270", "hflip", "transpose", "vflip", "antitranspose"}
    assert {path.name for path in Path("runs/bert/predictions").iterdir()} == {*views, "full", "onnx", "cost.json"}
    [part] = read_json("submissions/d4.json")["blend"]["parts"]
    assert set(part["views"]) == views


def test_a_submission_that_is_json_has_its_note_beside_it(old):
    rows = [{"image": path.name, "label": 0} for path in Path("input/tiny/test").iterdir()]
    Path("input/tiny/sample_submission.csv").unlink()
    Path("input/tiny/sample_submission.json").write_text(json.dumps(rows))
    run("infer.py", "bert", "--name", "listed")
    assert read_json("submissions/listed.about.json")["file"] == "listed.json"
    assert (
        read_json("submissions/listed.about.json")["sha256"]
        == hashlib.sha256(Path("submissions/listed.json").read_bytes()).hexdigest()
    )
