"""Learning from teachers: soft targets by the models of the same fold, resumed to the bit, and said where it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from comp import config
from comp.engine.views import TTA
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.prediction.predictor import open_predictor
from comp.records.base import Fold
from comp.runs import find_runs
from comp.schema import Config
from comp.training import progress
from comp.training.components import TrainingComponents, build_components
from comp.training.setup import Setup, open_setup
from tests.conftest import SMALL

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("trained_copy")  # the finished runs anna and bert


def student(*overrides: str, name: str = "student") -> Config:
    return config.load("configs/deep_efficientnet.yaml", [*SMALL, "teacher.runs=[anna, bert]", *overrides], name=name)[
        0
    ]


def components(*overrides: str, fold: Fold = 1) -> tuple[Setup, TrainingComponents]:
    """Return the setup and the components of a fold of a student."""
    setup = open_setup(student(*overrides), CPU, [fold])
    return setup, build_components(setup, fold, use_initial_weights=False)


def teachers(fold: int, rows: np.ndarray, *, part: str = "train", views: str = "none") -> np.ndarray:
    """Return the mean probabilities of the models of this fold of anna and bert."""
    predictions = []
    for run in find_runs(["anna", "bert"]):
        predictor = open_predictor(run, device=CPU, only=[fold])
        images = predictor.dataset.train if part == "train" else predictor.dataset.test
        predictions.append(predictor.compute([fold], images, rows, TTA[views], "")[0])
    return np.stack(predictions).mean((0, 1))


def kept(run: str, fold: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{run}/fold{fold}/weights.pt", weights_only=True)["state_dict"]


def test_targets_mix_labels_with_the_models_of_the_same_fold():
    setup, student_of_fold_1 = components("teacher.weight=0.25", "teacher.tta=flips")
    rows = setup.split(1)[0]
    labels = np.eye(8)[setup.targets[rows]]
    expected = 0.75 * labels + 0.25 * teachers(1, rows, views="flips")
    targets = student_of_fold_1.train_set.targets
    assert np.abs(targets - expected).max() < 1e-6 and targets.dtype == np.float32
    assert np.abs(targets - 0.75 * labels - 0.25 * teachers(0, rows, views="flips")).max() > 1e-3
    assert (student_of_fold_1.labels == setup.targets[rows]).all()  # class weights count labels
    assert set(student_of_fold_1.train_set.rows) == set(rows)


@pytest.mark.slow
def test_temperature_softens_each_teacher_before_the_mean():
    setup, softened = components("teacher.weight=1", "teacher.temperature=2", "teacher.runs=[anna]", fold=2)
    soft, rows = softened.train_set.targets, setup.split(2)[0]
    predictor = open_predictor(find_runs(["anna"])[0], device=CPU, only=[2])
    roots = np.sqrt(predictor.compute([2], predictor.dataset.train, rows, ["identity"], "")[0, 0])
    assert np.abs(soft - roots / roots.sum(1, keepdims=True)).max() < 1e-5


def test_test_images_join_with_the_probabilities_of_the_teachers():
    setup, everything = components("teacher.test_images=true")
    count, rows = len(setup.dataset.train), setup.split(1)[0]
    test = teachers(1, np.arange(8), part="test")
    train_set = everything.train_set
    assert list(train_set.rows) == [*rows, *range(count, count + 8)]
    assert np.abs(train_set.targets[len(rows) :] - test).max() < 1e-6
    assert train_set.read_square(len(rows) + 3).shape == train_set.read_square(0).shape
    threshold = float(np.sort(test.max(1))[4])  # five of eight reach it
    shutil.rmtree("runs/student")
    some = components("teacher.test_images=true", f"teacher.min_confidence={threshold - 1e-6}")[1].train_set
    assert list(some.rows[len(rows) :]) == [count + row for row in np.flatnonzero(test.max(1) >= threshold)]


@pytest.fixture
def train(run_cli):
    """Return `train(name, ...)`, which trains fold 0 of a student of anna and returns (status, stdout, stderr)."""
    keys = [*SMALL, "teacher.runs=[anna]", "train.save_every=0", "augment.mixup=0.2"]
    return lambda name, *more: run_cli("train.py", "--fold", "0", "--name", name, *keys, *more)


@pytest.mark.slow
def test_killed_student_resumes_to_the_bit_without_its_teacher(train, monkeypatch):
    assert train("whole")[0] == 0
    save = progress.FoldProgress.save

    def interrupt(self, fold_dir):
        save(self, fold_dir)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress.FoldProgress, "save", interrupt)
        assert train("killed")[0] == 130
    Path("runs/anna").rename("elsewhere")
    status, out, _ = train("killed")
    assert status == 0 and "predicted in" not in out
    assert all(torch.equal(value, kept("killed")[key]) for key, value in kept("whole").items())
    status, _, err = train("killed", "--fold", "1")  # a fold that has not begun needs it
    assert status == 2 and err.startswith("error: there is no run anna")


def test_begun_fold_keeps_its_soft_targets_and_refuses_a_changed_teacher():
    targets = components()[1].train_set.targets
    table = Path("runs/student/fold1/teacher_train.npz")
    content = table.read_bytes()
    Path("runs/bert").rename("elsewhere")
    assert (components()[1].train_set.targets == targets).all() and table.read_bytes() == content  # without a teacher
    Path("elsewhere").rename("runs/bert")
    for name in ("weights.pt", "fold.json"):  # anna is trained again
        shutil.copy(f"runs/bert/fold1/{name}", f"runs/anna/fold1/{name}")
    for fold in 1, 2:  # nor may another fold of the run begin with other teachers
        with pytest.raises(UserError, match="runs/student/fold1 was begun with other weights of its teacher anna"):
            components(fold=fold)
    shutil.rmtree("runs/anna")
    table.with_name("resume.pt").touch()
    table.unlink()
    with pytest.raises(UserError, match="there is no run anna"):
        components()


@pytest.mark.slow
def test_begun_fold_that_lost_its_soft_targets_is_not_resumed_with_others():
    components()
    table = Path("runs/student/fold1/teacher_train.npz")
    table.with_name("resume.pt").touch()
    table.unlink()
    with pytest.raises(UserError, match=r"teacher_train.npz is missing; restore it, or train from scratch"):
        components()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["teacher.runs=[nobody]"], "there is no run nobody"),
        (["teacher.runs=['*']"], "teacher.runs: * matches 2 runs; name one"),
        (["teacher.runs=[]", "teacher.weight=0.7"], "teacher: no run is named; set teacher.runs=[NAME]"),
        (["teacher.min_confidence=0.9"], "teacher.min_confidence chooses test images"),
        (["train.balanced=true"], "train.balanced needs a class of each image"),
        (["augment.oversample=smote"], "augment.oversample needs a class of each image"),
        (["--fold", "full"], "teacher.runs: anna has no finished fold full; train that first"),
        (["--name", "anna", "--restart"], "teacher.runs: anna is this run itself; choose another --name"),
    ],
)
def test_teachers_that_cannot_be_used_are_one_error_before_the_run(train, keys, message):
    status, _, err = train("x", *keys)
    assert status == 2 and err.count("\n") == 1 and message in err, err
    assert not Path("runs/x/run.json").exists() and Path("runs/anna/fold0/weights.pt").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", [f"c{index}" for index in range(8)], "anna predicts other classes"),
        ("folds_sha256", "0" * 64, "anna was trained on another split"),
    ],
)
def test_teacher_of_other_classes_or_another_split_is_refused(train, key, value, message):
    file = Path("runs/anna/run.json")
    write_json(file, {**read_json(file), key: value})
    status, _, err = train("x")
    assert status == 2 and err.count("\n") == 1 and message in err, err


def test_teacher_that_kept_its_best_epoch_is_refused():
    file = Path("runs/anna/config.yaml")
    file.write_text(file.read_text().replace("keep: last", "keep: best"))
    with pytest.raises(UserError, match="anna keeps each fold's best epoch"):
        open_setup(student(), CPU, [0])


def test_run_that_saw_test_pixels_says_so_from_its_record_to_the_ledger(run_cli):
    assert open_setup(student("teacher.test_images=true"), CPU, [0]).run.record.unlabelled_images == ("test",)
    assert open_setup(student(name="plain"), CPU, [0]).run.record.unlabelled_images == ()
    file = Path("runs/anna/run.json")
    write_json(file, {**read_json(file), "unlabelled_images": ["test"]})
    heirs = [student(name="taught"), student("teacher.runs=[]", "train.init=anna", name="started")]
    assert [open_setup(heir, CPU, [0]).run.record.unlabelled_images for heir in heirs] == [("test",)] * 2
    remark = "trained with the pixels of test images"
    status, out, _ = run_cli("infer.py", "anna")
    assert status == 0 and f"warning: {remark}: anna" in out
    assert read_json(Path("submissions/anna.json"))["unlabelled_images"] == ["test"]
    assert remark in Path("submissions/ledger.csv").read_text()
    assert f"its models were {remark}" in run_cli("comp", "submit", "check", "anna")[1]
    board = run_cli("comp", "leaderboard", "anna", "bert", "blends/anna")[1].splitlines()
    assert {line.partition("(")[0].split()[-1] for line in board if remark in line} == {"anna", "blends/anna"}, board
    assert run_cli("infer.py", "bert")[0] == 0
    assert "unlabelled_images" not in read_json(Path("submissions/bert.json"))
