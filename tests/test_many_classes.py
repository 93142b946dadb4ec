"""Thousands of classes with two images each: from the files to a checked submission, in bounded memory."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from comp.files import read_json
from comp.prediction_file import read_any_predictions

TINY = [
    *("data.size=16", "folds.k=2", "model.name=test_efficientnet", "model.dropout=null", "model.drop_path=null"),
    *("train.epochs=1", "train.batch=128", "train.precision=fp32", "log.wandb=off"),
]


def draw_dataset(root: Path, classes: int, test: int = 20) -> None:
    """Draw two images of 8 px for each class, named in a table, as of a herbarium."""
    rng = np.random.default_rng(0)
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    rows = [(f"{number:05}.png", f"species {number // 2:05}") for number in range(2 * classes)]
    for name, _ in rows:
        cv2.imwrite(str(root / "train" / name), rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    ids = [f"t{number:03}.png" for number in range(test)]
    for name in ids:
        cv2.imwrite(str(root / "test" / name), rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    pd.DataFrame(rows, columns=["image_id", "species"]).to_csv(root / "train.csv", index=False)
    sample = pd.DataFrame({"image_id": ids, "species": "species 00000"})
    sample.to_csv(root / "sample_submission.csv", index=False)


@pytest.mark.parametrize("classes", [pytest.param(classes, marks=pytest.mark.slow) for classes in (1500, 5000)])
def test_many_classes_from_files_to_a_submission(classes, workspace, run_cli):
    draw_dataset(Path("input/herbarium"), classes)

    def run(*arguments: str) -> str:
        status, out, err = run_cli(*arguments)
        assert status == 0, err
        assert all(len(line) < 400 for line in (out + err).splitlines())
        return out

    run("comp", "data", "adopt", "input/herbarium")
    config = ["-c", "configs/herbarium.yaml"]
    run("comp", "folds", *config, "folds.k=2")
    run("comp", "data", "show", *config, "data.size=16", "--columns", "1", "--out", "sheet.png", "augment.device=cpu")
    assert cv2.imread("sheet.png").shape[0] < 25 * 24
    run("train.py", *config, "--name", "many", "--fold", "0", *TINY)
    assert sorted(path.name for path in Path("runs/many/fold0").glob("*.npz")) == ["last.npz"]
    metrics = Path("runs/many/metrics.json")
    report = read_json(metrics)["report"]
    assert report["confusion"] == [] and len(report["confused"]) == 24 and len(report["per_class"]) == classes
    assert metrics.stat().st_size < 300 * classes
    run("infer.py", "many", "--tta", "none")
    table = read_any_predictions(Path("runs/many/predictions/identity/oof.npz")).table
    assert table.shape == (classes, classes + 2) and not Path("runs/many/predictions/identity/oof.csv").exists()
    [group] = json.loads(run_cli("comp", "leaderboard", "--json")[1])["groups"]
    assert {entry["name"] for entry in group["entries"]} == {"many", "blends/many"}
    assert any(entry["against_best"] for entry in group["entries"])
    submission = pd.read_csv("submissions/many.csv")
    assert (
        list(submission.columns) == ["image_id", "species"] and submission["species"].str.match(r"species \d{5}").all()
    )
    assert run_cli("comp", "submit", "check", "submissions/many.csv")[0] in (0, 1)
