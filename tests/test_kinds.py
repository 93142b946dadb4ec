"""Each kind of target from its files to a submission: split, training, blend, file and check, on drawn images."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from comp.prediction_file import read_any_predictions
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


@pytest.mark.parametrize("is_bundled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_enter_arrays(kinds, run_cli, is_bundled):
    """Arrays of 16-bit floats, two of them an image, in a folder that is not called test."""
    kinds(lambda brightness: int(brightness > 0.5), ["id", "bright"], "0.5")
    for path in Path("input/kinds/images").iterdir():
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float16)
        marked = np.where(np.arange(24)[:, None] < grey.mean() / 10, 400, grey)  # brightness alone would be lost
        np.save(path.with_suffix(".npy"), np.stack([marked, np.fliplr(marked)]))
        path.unlink()
    values = [float(value) for (value,) in enter(run_cli, "data.task=binary", "train.metric=auc")]
    assert len(set(values)) > 5
    if is_bundled:
        status, out, err = run_cli("comp", "bundle", "run")
        assert status == 0 and "the same bytes in" in out, err
    folders = ("data.labels=train.csv", "data.train=images", "data.test=images")
    status, out, err = run_cli("comp", "data", "check", *SMALL, *folders)
    assert "2 arrays one below the other, percentiles 0.5 to 99.5 of the image become 0 to 255" in out, err


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


def draw_rows(root: Path, brightness_of_image) -> None:
    """Draw two views of each of 24 patients and 6 test patients; test.csv says which images a row of the sample has."""
    rng, train, test = np.random.default_rng(0), [], []
    for patient in range(30):
        for view in range(2):
            image, label = f"{'t' if patient >= 24 else 'a'}{patient}_{view}", patient % 2
            draw(root / "images" / f"{image}.png", brightness_of_image(label, view), rng)
            if patient < 24:
                train.append([image, patient, "L", label])
            else:
                test.append([image, patient, "L", f"{patient}_L"])
    write(root / "train.csv", ["image", "patient", "side", "bright"], train)
    write(root / "test.csv", ["image", "patient", "side", "row"], test)
    write(root / "sample_submission.csv", ["row", "bright"], [[f"{patient}_L", 0] for patient in range(24, 30)])


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_enter_rows_of_several_images_scores_by_row(kinds, run_cli, pool):
    draw_rows(Path("input/kinds"), lambda label, view: 0.9 * label * (view == 0) + 0.1 * view)
    keys = ["data.labels=train.csv", "data.train=images", "data.test=images", "data.label=bright", "data.task=binary"]
    keys += ["data.image=image", "data.row=[patient, side]", "data.ids=test.csv:row", "train.metric=auc"]
    keys += [f"data.pool={pool}"]
    for program, *arguments in (
        ("comp", "folds", *SMALL, *keys),
        ("train.py", "--name", "run", *SMALL, *keys),
        ("infer.py", "run", "--name", "one"),
        ("comp", "submit", "check", "submissions/one.csv", "--yes"),
        ("comp", "submit", "reproduce", "one"),
        ("comp", "leaderboard", "--json"),
    ):
        status, out, err = run_cli(program, *arguments)
        assert status == 0, (program, arguments, out, err)
    assert out.count('"images": 24') == 1, out  # the run is tested against the blend on rows
    folds = pd.read_csv("folds/kinds.csv", dtype=str)
    assert (folds.groupby(folds["image"].str.replace("_.$", "", regex=True))["fold"].nunique() == 1).all()
    images = pd.read_csv("runs/run/predictions/identity/oof.csv", dtype={"row_id": str}).set_index("image")
    assert len(images) == 48 and images.loc["a3_1.png", "row_id"] == "3_L"
    rows = images.groupby("row_id").agg({"label": "first", "1": pool})
    metrics = json.loads(Path("runs/run/metrics.json").read_text())
    assert metrics["oof"]["kept"]["score"] == pytest.approx(roc_auc_score(rows["label"], rows["1"]))
    assert json.loads(Path("submissions/one.json").read_text())["oof"]["images"] == 24
    submitted = pd.read_csv("submissions/one.csv").set_index("row")["bright"]
    tests = [read_any_predictions(Path(f"runs/run/predictions/identity/test_fold{fold}.npz")).table for fold in (0, 1)]
    assert len(submitted) == 6 and len(tests[0]) == 12
    temperature = json.loads(Path("submissions/one.json").read_text())["blend"]["parts"][0]["temperature"]
    yes = [test.loc[["t24_0.png", "t24_1.png"], "1"].agg(pool) for test in tests]
    raised = [p ** (1 / temperature) / (p ** (1 / temperature) + (1 - p) ** (1 / temperature)) for p in yes]
    assert submitted["24_L"] == pytest.approx(np.mean(raised), abs=1e-6)


def test_rows_with_two_labels_or_two_folds_are_one_error(kinds, run_cli):
    root = Path("input/kinds")
    draw_rows(root, lambda label, view: label)
    keys = ["data.labels=train.csv", "data.train=images", "data.test=images", "data.label=bright", "data.task=binary"]
    keys += ["data.image=image", "data.row=[patient, side]", "data.ids=test.csv:row"]
    table = pd.read_csv(root / "train.csv")
    pd.concat([table.head(46), table.tail(2).assign(bright=[0, 1])]).to_csv(root / "train.csv", index=False)
    status, _, error = run_cli("comp", "folds", *SMALL, *keys)
    assert status == 2 and "1 rows have images with different labels, such as 23_L (0 and 1); fix the labels" in error
    table.to_csv(root / "train.csv", index=False)
    assert run_cli("comp", "folds", *SMALL, *keys)[0] == 0
    folds = pd.read_csv("folds/kinds.csv")
    folds.assign(group=folds["image"], fold=[0, 1] * 24).to_csv("folds/kinds.csv", index=False)
    record = json.loads(Path("folds/kinds.json").read_text())
    Path("folds/kinds.json").write_text(json.dumps({**record, "groups_sha256": None}))
    status, _, error = run_cli("train.py", *SMALL, *keys)
    assert status == 2 and "the images of the row 0_L are in several folds" in error, error
