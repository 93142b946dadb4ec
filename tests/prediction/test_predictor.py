"""Predictions of a run are stored in files; each is recomputed only if its inputs changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from comp import runs
from comp.errors import UserError
from comp.files import file_sha256, read_json, write_json
from comp.prediction import predictor
from comp.prediction.export import export_run
from comp.prediction.predictor import RunPredictions, open_predictor, predict_run, recompute_test_probabilities
from comp.prediction_file import read_any_predictions
from comp.runs import Run
from tests.conftest import SMALL
from tests.predictions import make_old, read_table

CPU = torch.device("cpu")
PREDICTIONS = Path("runs/x/predictions")


@pytest.fixture
def passes(monkeypatch) -> list[tuple[int, tuple[str, ...]]]:
    """Every pass over images: (number of networks, views)."""
    passes, predict_images = [], predictor.predict_images

    def record_pass(networks, squares, rows, views, options):
        passes.append((len(networks), tuple(views)))
        return predict_images(networks, squares, rows, views, options)

    monkeypatch.setattr(predictor, "predict_images", record_pass)
    return passes


def train_x(run_cli, *folds: str) -> Run:
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", *folds, *SMALL)
    [run] = runs.find_runs(["x"])
    return run


def probability_bytes(predictions: RunPredictions, classes: tuple[str, ...]) -> list[bytes]:
    tables = [*predictions.oof, *(table for fold_tables in predictions.test for table in fold_tables)]
    return [table[list(classes)].to_numpy().tobytes() for table in tables]


def test_predict_run_second_call_predicts_only_what_is_missing(workspace, run_cli, passes):
    x = train_x(run_cli, "--fold", "0,1")
    latency = open_predictor(x, device=CPU).latency_ms()
    first = predict_run(x, ["identity", "hflip"], device=CPU)
    # training wrote the OOF of the identity view; so that of the other view, fold by fold, and then the test images
    assert passes == [(1, ("hflip",))] * 2 + [(2, ("identity", "hflip"))]

    again = predict_run(x, ["identity", "hflip"], device=CPU)
    assert len(passes) == 3 and probability_bytes(again, x.classes) == probability_bytes(first, x.classes)
    assert open_predictor(x, device=CPU).latency_ms() == latency
    assert first.test[0][0][x.classes[0]].dtype == np.float32

    run_cli("train.py", "--name", "x", "--fold", "2", *SMALL)
    passes.clear()
    third = predict_run(x, ["hflip"], device=CPU)
    assert passes == [(1, ("hflip",))] * 2  # its own held-out images, and the test images by it alone
    assert third.folds == [0, 1, 2] and len(third.test) == 3
    assert probability_bytes(predict_run(x, ["hflip"], device=CPU, only=[0, 1]), x.classes) == [
        table[list(x.classes)].to_numpy().tobytes() for table in [first.oof[1], first.test[0][1], first.test[1][1]]
    ]
    folds = [read_table(PREDICTIONS / "hflip" / f"test_fold{fold}.npz", x.classes) for fold in range(3)]
    assert all(stored.equals(tables[0]) for stored, tables in zip(folds, third.test, strict=True))
    assert len(third.oof[0]) == 48

    passes.clear()
    predict_run(x, ["identity", "vflip"], device=CPU)  # on the test images fold 2 lacks both, the others one
    assert passes == [(1, ("vflip",))] * 3 + [(2, ("vflip",)), (1, ("identity", "vflip"))]


def test_latency_ms_is_measured_once_and_again_when_cost_json_is_corrupt(workspace, run_cli):
    x = train_x(run_cli, "--fold", "0")
    latency = open_predictor(x, device=CPU).latency_ms()
    [(machine, stored)] = read_json(PREDICTIONS / "cost.json").items()
    assert latency == stored > 0 and open_predictor(x, device=CPU).latency_ms() == latency
    write_json(PREDICTIONS / "cost.json", {machine: 7})
    assert open_predictor(x, device=CPU).latency_ms() == 7
    for corrupt in ([], {machine: "fast"}):
        write_json(PREDICTIONS / "cost.json", corrupt)
        assert open_predictor(x, device=CPU).latency_ms() > 0
        assert isinstance(read_json(PREDICTIONS / "cost.json")[machine], float)


def test_predict_run_folds_together_equal_each_fold_alone(workspace, run_cli):
    """A prediction must not depend on the set of folds that were finished when it was computed."""
    x = train_x(run_cli)
    together = predict_run(x, ["identity", "rot90"], device=CPU).test
    for file in PREDICTIONS.rglob("*.npz"):
        file.unlink()
    for fold in (2, 0, 1):
        alone = predict_run(x, ["rot90"], device=CPU, only=[fold]).test[0][0]
        assert alone.equals(together[fold][1])


def test_predict_run_full_model_has_one_file_per_view(workspace, run_cli):
    x = train_x(run_cli, "--fold", "full")
    predictions = predict_run(x, ["identity"], device=CPU, full=True)
    assert predictions.folds == ["full"] and predictions.oof == [] and len(predictions.test) == 1
    files = [file.relative_to(PREDICTIONS).as_posix() for file in PREDICTIONS.rglob("*.*")]
    assert files == ["full/identity/test.npz"]


# ---- what cannot be trusted ----


def change_weights(run: Run, fold: int, change: Callable[[dict[str, Any]], object], record: bool = False) -> None:
    """Change the content of weights.pt; `record`: as if the training had written it."""
    path = run.fold_dir(fold).weights_path
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    if record:
        run.fold_dir(fold).mark_ended("done", weights_sha256=file_sha256(path))


def swap_classes(content: dict[str, Any]) -> None:
    classes = content["recipe"]["classes"]
    classes[0], classes[1] = classes[1], classes[0]


OTHER_WEIGHTS: dict[str, Callable[[Run], object]] = {
    "of another fold": lambda run: shutil.copy(run.fold_dir(1).weights_path, run.fold_dir(0).weights_path),
    "of another run": lambda run: shutil.copy("runs/bert/fold0/weights.pt", run.fold_dir(0).weights_path),
    "with classes swapped": lambda run: change_weights(run, 0, swap_classes),
    "with another mean": lambda run: change_weights(run, 0, lambda content: content["recipe"].update(mean=[0.5] * 3)),
    "with one weight changed": lambda run: change_weights(
        run, 0, lambda content: next(iter(content["state_dict"].values()))[0].add_(1)
    ),
}


@pytest.mark.parametrize("other", OTHER_WEIGHTS)
def test_predict_run_other_weights_are_refused_whether_or_not_predictions_exist(other, anna, passes):
    OTHER_WEIGHTS[other](anna)
    for action in (
        lambda: predict_run(anna, ["identity"], device=CPU),  # the OOF exists: training wrote it
        lambda: predict_run(anna, ["identity"], device=CPU, only=[0]),
        lambda: open_predictor(anna, device=CPU).compute_test([0], ["identity"]),
        lambda: export_run(anna, "onnx"),
        lambda: open_predictor(anna, device=torch.device("cpu"), runtime="onnx").predict_test(["identity"]),
    ):
        with pytest.raises(UserError, match=r"fold0/weights\.pt is not the file that was recorded.*; restore it, or"):
            action()
    assert not passes and not list(Path("runs/anna").rglob("test*")) and not list(Path("runs").rglob("model.*"))


def test_predict_run_a_fold_copied_with_its_record_is_refused(anna):
    shutil.copytree("runs/anna/fold1", "runs/anna/fold0", dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"fold0/weights\.pt is of fold 1, where fold 0 belongs; restore it, or delete"):
        predict_run(anna, ["hflip"], device=CPU)
    shutil.copytree("runs/bert/fold0", "runs/anna/fold0", dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"fold0/weights\.pt is of run bert, where run anna belongs; restore it, or"):
        predict_run(anna, ["hflip"], device=CPU)
    change_weights(anna, 1, swap_classes, record=True)
    with pytest.raises(UserError, match=r"fold1/weights\.pt is of classes eosinophil,basophil,.* belongs; restore it"):
        predict_run(anna, ["hflip"], device=CPU, only=[1])


@pytest.mark.parametrize("name", ["fold.json", "weights.pt"])
def test_predict_run_fold_that_lost_a_file_is_refused(name, anna):
    file = anna.fold_dir(1).path / name
    file.unlink()
    with pytest.raises(UserError, match=rf"{file} is missing or no file, and .* exists; restore it, or train the fold"):
        predict_run(anna, ["identity"], device=CPU)


def test_predictor_weights_that_change_while_they_are_used_are_refused(anna):
    predictor = open_predictor(anna, device=CPU)
    predictor.weights_sha256([0])
    change_weights(anna, 0, lambda content: content.update(epoch=7), record=True)
    with pytest.raises(UserError, match=r"fold0 was trained again meanwhile; run this again"):
        predictor.predict_test(["identity"])


def test_predict_run_predictions_record_the_weights_that_made_them(anna, passes, capsys):
    predict_run(anna, ["identity"], device=CPU, only=[0])
    first = predict_run(anna, ["identity"], device=CPU)
    change_weights(anna, 0, lambda content: next(iter(content["state_dict"].values())).add_(0.5), record=True)
    passes.clear()
    capsys.readouterr()
    second = predict_run(anna, ["identity"], device=CPU)
    assert passes == [(1, ("identity",))] * 2  # its OOF rows and its test images
    sha256 = file_sha256(anna.fold_dir(0).weights_path)
    for name in ("oof", "test_fold0"):
        made_from = read_any_predictions(Path(f"runs/anna/predictions/identity/{name}.npz")).made_from
        assert made_from.weights["0"] == sha256
        assert made_from.labels == (anna.record.image_list_sha256 if name == "oof" else None)
    assert not np.array_equal(second.test[0][0], first.test[0][0]) and second.test[1][0].equals(first.test[1][0])
    assert capsys.readouterr().out.splitlines() == [
        f"runs/anna/predictions/identity/{name}.npz: made from other weights{of}, so it is made again"
        for name, of in (("oof", " of fold 0"), ("test_fold0", ""))
    ]


def edit_csv(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:-1], "0.1"])
    path.write_text("\n".join(lines) + "\n")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "spoilt": flip_bit,
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "swapped": lambda path: shutil.copy(path.with_name("other.npz"), path),
    "an old table that was edited": edit_csv,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["oof", "test_fold1"])
def test_predict_run_damaged_table_is_made_again_and_a_line_says_so(damage, name, anna, passes, capsys):
    first = predict_run(anna, ["identity"], device=CPU)
    passes.clear()
    path = Path(f"runs/anna/predictions/identity/{name}.npz")
    other = {"oof": Path("runs/anna/fold0/last.npz"), "test_fold1": path.with_name("test_fold0.npz")}[name]
    shutil.copy(other, path.with_name("other.npz"))
    if "old" in damage:
        path = make_old(path)
        path.write_bytes(path.read_bytes())  # the same bytes are the same table, whatever their time
    assert predict_run(anna, ["identity"], device=CPU).oof[0].equals(first.oof[0]) and not passes
    DAMAGE[damage](path)
    capsys.readouterr()
    again = predict_run(anna, ["identity"], device=CPU)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"{path}: ") and lines[0].endswith(", so it is made again")
    assert len(passes) == {"oof": 3, "test_fold1": 1}[name]
    for tables, old_tables in ((again.oof, first.oof), (again.test[1], first.test[1])):
        pd.testing.assert_frame_equal(tables[0], old_tables[0], atol=1e-6)
    predict_run(anna, ["identity"], device=CPU)
    assert capsys.readouterr().out == ""


def test_predict_run_tables_of_an_older_version_are_not_made_again(anna, passes, capsys):
    first = predict_run(anna, ["identity"], device=CPU)
    old = [make_old(path) for path in Path("runs/anna/predictions/identity").glob("*.npz")]
    times = {path: path.stat().st_mtime_ns for path in old}
    passes.clear()
    again = predict_run(anna, ["identity"], device=CPU)
    assert len(old) == 4 and probability_bytes(again, anna.classes) == probability_bytes(first, anna.classes)
    assert not passes and times == {path: path.stat().st_mtime_ns for path in old} and capsys.readouterr().out == ""


def test_recompute_test_probabilities_are_those_that_were_written(anna, passes):
    views = ["identity", "hflip"]
    written = predict_run(anna, views, device=CPU).test
    del passes[:]
    again = recompute_test_probabilities(anna, [2, 0], views, device=CPU)
    assert passes == [(2, tuple(views))]
    expected = [[written[fold][view][list(anna.classes)] for view in range(2)] for fold in (2, 0)]
    np.testing.assert_array_equal(again, np.asarray(expected, np.float32))


def test_predict_run_oof_of_one_fold_says_nothing_of_others(anna, capsys):
    for fold in range(3):
        predict_run(anna, ["hflip"], device=CPU, only=[fold])
        made_from = read_any_predictions(Path("runs/anna/predictions/hflip/oof.npz")).made_from
        assert list(made_from.weights) == [str(done) for done in range(fold + 1)]
    predict_run(anna, ["hflip"], device=CPU)
    assert capsys.readouterr().out == ""


def test_predict_run_full_table_edited_is_made_again(anna, passes, capsys):
    shutil.copytree("runs/anna/fold0", "runs/anna/foldfull")
    change_weights(anna, "full", lambda content: content.update(fold="full"), record=True)
    predict_run(anna, ["identity"], device=CPU, full=True)
    path = Path("runs/anna/predictions/full/identity/test.npz")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"img_3.jpg", b"img_9.jpg"))
    predict_run(anna, ["identity"], device=CPU, full=True)
    assert len(passes) == 2 and path.read_bytes() == content and "full/identity/test.npz: " in capsys.readouterr().out


def test_predict_run_training_image_changed_since_makes_oof_again(anna, passes, capsys):
    [changed] = [image for image in open_predictor(anna, device=CPU).dataset.train if image.id == "cell_00003.jpg"]
    os.utime(changed.path, (1, 1))
    predict_run(anna, ["identity"], device=CPU)
    assert passes == [(1, ("identity",))] * 3 + [(3, ("identity",))]
    assert "oof.npz: made from other images, so it is made again" in capsys.readouterr().out


def test_predict_run_test_image_changed_since_makes_test_again(anna, passes, capsys):
    predict_run(anna, ["identity"], device=CPU)
    passes.clear()
    shutil.copy("input/tiny/test/img_0.jpg", "input/tiny/test/img_1.jpg")
    predictions = predict_run(anna, ["identity"], device=CPU)
    assert passes == [(3, ("identity",))]
    assert "test_fold0.npz and 2 more: made from other images, so they are made again" in capsys.readouterr().out
    table = predictions.test[0][0]
    assert np.array_equal(table.loc["img_0.jpg"], table.loc["img_1.jpg"])


def test_predict_run_split_changed_since_is_refused(anna, passes):
    table = pd.read_csv("folds/tiny.csv", dtype=str)
    table["fold"] = table["fold"].map({"0": "1", "1": "2", "2": "0"})
    table.to_csv("folds/tiny.csv", index=False)
    with pytest.raises(UserError, match=r"anna was trained on another split than folds/tiny\.csv contains now; rest"):
        predict_run(anna, ["identity"], device=CPU)
    assert not passes


def test_predict_run_weights_that_predict_no_probabilities_are_refused_and_nothing_is_written(anna):
    change_weights(anna, 0, lambda content: next(iter(content["state_dict"].values())).fill_(float("nan")), record=True)
    with pytest.raises(UserError, match=r"the model of runs/anna/fold0 predicts a probability that is not between"):
        predict_run(anna, ["hflip"], device=CPU)
    assert not Path("runs/anna/predictions/hflip").exists()


@pytest.mark.parametrize("impossible", [-1.0, 0.0, 1e9])
def test_latency_ms_impossible_is_measured_again_and_a_line_says_so(impossible, anna, capsys):
    open_predictor(anna, device=CPU).latency_ms()
    path = Path("runs/anna/predictions/cost.json")
    [machine] = read_json(path)
    write_json(path, {machine: impossible})
    assert 0 < open_predictor(anna, device=CPU).latency_ms() < 1e4
    assert capsys.readouterr().out.endswith(
        f"{path}: {impossible} ms on {machine} cannot be a time per image; measured again\n"
    )


def test_predictor_current_predictions_load_no_model(anna, monkeypatch):
    first = predict_run(anna, ["identity"], device=CPU)
    monkeypatch.setattr(predictor, "load_model", None)
    again = predict_run(anna, ["identity"], device=CPU)
    assert probability_bytes(again, anna.classes) == probability_bytes(first, anna.classes)
