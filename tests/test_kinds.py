"""Each kind of target from its files to a submission: split, training, blend, file and check, on drawn images."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import REPO_ROOT

TRAIN, TEST = 36, 9
SMALL = [
    "data.root=input/kinds",
    "data.size=24",
    "folds.k=2",
    "train.batch=8",
    "train.epochs=10",
    "train.precision=fp32",
    "model.name=test_efficientnet",
    "optim.lr=0.005",
    "log.wandb=off",
]


def draw(path: Path, brightness: float, rng: np.random.Generator) -> None:
    """Draw noise on a grey of this brightness, from 0 to 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(0, 60, (24, 24, 3))
    cv2.imwrite(str(path), (40 + 150 * brightness + noise).astype(np.uint8))


def write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


@pytest.fixture
def kinds(tmp_path, monkeypatch):
    """Return `kinds(label_of_brightness, header, placeholder)`, which draws input/kinds with train.csv and a sample."""
    shutil.copytree(REPO_ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)

    def make(label, header: list[str], *placeholder: str) -> None:
        rng, root, rows = np.random.default_rng(0), Path("input/kinds"), []
        for number, brightness in enumerate(np.linspace(0, 1, TRAIN)):
            draw(root / "images" / f"a{number}.png", brightness, rng)
            rows.append([f"a{number}", *np.atleast_1d(label(brightness))])
        for number, brightness in enumerate(np.linspace(0, 1, TEST)):
            draw(root / "images" / f"t{number}.png", brightness, rng)
        write(root / "train.csv", header, rows)
        write(root / "sample_submission.csv", header, [[f"t{number}", *placeholder] for number in range(TEST)])

    return make


def enter(run_cli, *keys: str) -> list[list[str]]:
    """Run every command, and return the rows of the submission without their ids."""
    config = [*SMALL, "data.labels=train.csv", "data.train=images", "data.test=images", *keys]
    for program, *arguments in (
        ("comp", "folds", *config),
        ("train.py", "--name", "run", *config),
        ("infer.py", "run"),
        ("comp", "submit", "check", "submissions/run.csv", "--yes"),
        ("comp", "submit", "reproduce", "run"),
    ):
        status, out, err = run_cli(program, *arguments)
        assert status == 0, (program, arguments, out, err)
    scores = json.loads(Path("runs/run/metrics.json").read_text())
    assert scores["baseline"] is not None and scores["oof"]["kept"]["interval"][0] <= scores["oof"]["kept"]["score"]
    with open("submissions/run.csv", newline="") as file:
        _, *rows = csv.reader(file)
    assert [row[0] for row in rows] == [f"t{number}" for number in range(TEST)]
    return [row[1:] for row in rows]


def test_enter_binary_ranked_by_probability(kinds, run_cli):
    kinds(lambda brightness: int(brightness > 0.5), ["id", "bright"], "0")
    values = [float(value) for (value,) in enter(run_cli, "data.task=binary", "train.metric=auc")]
    assert len(set(values)) > 5 and np.mean(values[5:]) > np.mean(values[:4])


def test_enter_tags_with_a_threshold(kinds, run_cli):
    kinds(
        lambda brightness: "dim" if brightness < 0.4 else "bright" if brightness > 0.6 else "dim bright",
        ["image", "tags"],
        "dim",
    )
    rows = enter(run_cli, "data.task=multilabel", "data.separator=' '", "train.metric=micro_f1")
    assert {tag for (tags,) in rows for tag in tags.split()} <= {"dim", "bright"} and all(tags for (tags,) in rows)
    manifest = json.loads(Path("submissions/run.json").read_text())
    assert len(manifest["blend"]["decision"]) == 1


def test_enter_columns_of_tags(kinds, run_cli):
    kinds(lambda brightness: [int(brightness < 0.6), int(brightness > 0.4)], ["image", "dim", "bright"], "0", "0")
    rows = enter(run_cli, "data.task=multilabel", "data.label=[dim, bright]", "train.metric=auc")
    dim, bright = np.array(rows, float).T
    assert dim[0] > dim[-1] and bright[-1] > bright[0]


def test_enter_grades_with_cut_points(kinds, run_cli):
    kinds(lambda brightness: int(brightness * 3.99), ["id_code", "grade"], "0")
    rows = enter(run_cli, "data.task=ordinal", "train.metric=quadratic_kappa")
    assert {grade for (grade,) in rows} <= {"0", "1", "2", "3"} and len({grade for (grade,) in rows}) > 1


def test_enter_numbers_in_the_range_of_training(kinds, run_cli):
    kinds(lambda brightness: round(10 + 90 * brightness, 1), ["Id", "points"], "50")
    rows = enter(run_cli, "data.task=regression", "train.metric=rmse", "loss.name=smooth_l1", "loss.label_smoothing=0")
    numbers = [float(value) for (value,) in rows]
    assert min(numbers) >= 10 and max(numbers) <= 100 and numbers[-1] > numbers[0]


def test_enter_best_classes_by_number(kinds, run_cli):
    kinds(lambda brightness: [7, 104, 9000][int(brightness * 2.99)], ["image", "Id"], "104 7")
    rows = enter(run_cli, "train.metric=map@3")
    assert all(sorted(best.split(), key=int) == ["7", "104", "9000"] for (best,) in rows)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["train.metric=rmse"], "train.metric=rmse does not fit data.task=single; use one of accuracy"),
        (["data.task=binary"], "needs two values"),
        (["data.task=regression"], "loss.name=cross_entropy does not fit data.task=regression"),
        (["data.task=multilabel", "train.metric=micro_f1", "train.balanced=true"], "train.balanced is for classes"),
        (["data.label=colour"], "has no column colour"),
    ],
)
def test_enter_what_does_not_fit_is_one_error_before_training(kinds, run_cli, keys, message):
    kinds(lambda brightness: [7, 104, 9000][int(brightness * 2.99)], ["image", "Id"], "7")
    config = [*SMALL, "data.labels=train.csv", "data.train=images", "data.test=images", *keys]
    if "regression" in keys[0]:
        config.append("train.metric=rmse")
    run_cli("comp", "folds", *config)
    status, _, error = run_cli("train.py", *config)
    assert status == 2 and error.count("\n") == 1 and message in error, error
    assert not list(Path().glob("runs/*/run.json"))


def test_leaderboard_tests_runs_of_numbers_against_each_other(kinds, run_cli):
    kinds(lambda brightness: round(10 + 90 * brightness, 1), ["Id", "points"], "50")
    keys = ["data.task=regression", "train.metric=rmse", "loss.name=smooth_l1", "loss.label_smoothing=0"]
    config = [*SMALL, "data.labels=train.csv", "data.train=images", "data.test=images", *keys]
    run_cli("comp", "folds", *config)
    for name, epochs in (("short", 1), ("long", 10)):
        assert run_cli("train.py", "--name", name, *config, f"train.epochs={epochs}")[0] == 0
    status, out, err = run_cli("comp", "leaderboard")
    assert status == 0, err
    assert "rmse (lower is better)" in out and out.count(" p ") == 1, out  # of one against the best
