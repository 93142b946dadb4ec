"""import comp: the numbers of the programs, the command in what is written, and mistakes in one line."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import comp
from comp.prediction_file import read_any_predictions
from comp.records.metrics import RunMetrics
from comp.runs import find_runs
from comp.submit.manifest import read_manifest
from tests.conftest import SMALL

TEST = "input/tiny/test"
CONFIG = "configs/deep_efficientnet.yaml"
KEYS = dict(word.split("=") for word in SMALL)


def test_predict_equals_the_command_to_the_bit_for_paths_images_and_arrays(trained_copy, run_cli):
    run_cli("comp", "predict", TEST, "--run", "anna", "--csv", "a.csv", "--device", "cpu")
    expected, run = pd.read_csv("a.csv", dtype={"image": str}), comp.load("anna")
    paths = expected["image"].tolist()
    by_path = run.predict(TEST)
    pd.testing.assert_frame_equal(by_path, expected, check_exact=False, rtol=0, atol=1e-9)
    columns = list(expected.columns[2:])
    for images in ([Image.open(path) for path in paths], [cv2.imread(path)[..., ::-1] for path in paths]):
        answers = run.predict(images)
        assert np.array_equal(answers[columns], by_path[columns]) and answers["image"].tolist()[:2] == ["0", "1"]
    assert len(run.predict(Image.open(paths[0]))) == 1 and run.predict([]).empty
    assert run.predict(Path(paths[0]))["image"].tolist() == paths[:1]


def test_loaded_run_has_the_stored_predictions_and_scores(trained_copy):
    run, stored = comp.load("runs/anna"), read_any_predictions(Path("runs/anna/predictions/identity/oof.npz"))
    pd.testing.assert_frame_equal(run.oof(), stored.table.reset_index())
    scores = RunMetrics.read(Path("runs/anna/metrics.json")).scores
    assert (run.score, run.interval) == (scores.oof.kept.score, scores.oof.kept.interval)
    assert run.scores["fold"].tolist() == ["0", "1", "2", "OOF"]
    assert run.scores["accuracy"].tolist() == [*scores.per_fold["last"], run.score]
    assert (
        repr(run) == f"run anna of tiny: accuracy {run.score:.4f} [{run.interval[0]:.4f}, {run.interval[1]:.4f}], "
        "folds 0, 1, 2"
    )
    shown = comp.LoadedRun("<b>anna", run.path, is_run=True)._repr_html_()
    assert "&lt;b&gt;anna" in shown and "<b>" not in shown and f"{run.score:.4f}" in shown


def test_train_and_infer_record_the_commands_that_do_the_same(trained_copy, run_cli):
    comp.train(CONFIG, fold=0, name="new", **{**KEYS, "train.epochs": 1, "model.dropout": None})
    command = shlex.split(find_runs(["new"])[0].fold_dir(0).read_record().command)
    assert command[0] == "train.py" and "train.epochs=1" in command and "model.dropout=null" in command
    status, out, _ = run_cli(*command)
    assert status == 0 and "fold 0  already done" in out
    submission = comp.infer([comp.load("anna"), "bert"], blend="geometric", tta="flips", name="pair", calibrate=False)
    written = submission.path.read_bytes()
    command = shlex.split(read_manifest(submission.path).command)
    submission.path.unlink()
    assert command[:3] == ["infer.py", "anna", "bert"] and run_cli(*command)[0] == 0
    assert submission.path.read_bytes() == written
    assert submission.oof()["fold"].unique().tolist() == [int(fold) for fold in submission.scores["fold"][:-1]]


MISTAKES = {
    "comp.load('ana')": "there is no run ana; did you mean anna?",
    "comp.load('submissions/x.csv')": "there is no manifest of a submission x",
    "comp.load('*')": "* matches 2 runs; pass one",
    "comp.train('configs/no.yaml')": "configs/no.yaml",
    "comp.train(**{'train.epoch': 3})": "unknown key train.epoch; did you mean train.epochs?",
    "comp.train(**{'train.seed': '0,1'})": "train.seed=0,1 names 2 runs; pass one seed to each call",
    "comp.train(device='tpu')": "tpu",
    "comp.infer('anna', tta='d8')": "there are no views --tta d8; use one of none, flips, d4, auto",
    "comp.infer('anna', runtime='tflite')": "there is no --runtime tflite; use one of torch, onnx",
    "comp.infer('anna', fold=0)": "fold=0 is no choice of infer",
    "comp.infer('anna', tta='auto', budget='soon')": "'soon' is not a duration",
    "comp.load('anna').predict('no.jpg')": "no.jpg is no image",
    "comp.load('anna').predict(np.zeros((8, 8)))": "image 0 is float64 (8, 8); pass paths alone, or PIL images",
    "comp.load('anna').predict('configs/demo.yaml')": "1 of 1 images could not be read, such as configs/demo.yaml",
    "comp.load('anna').predict(8)": "image 0 is int",
    "comp.load('anna').predict([], runtime='openvino')": "there is no runtime openvino for single images",
    "comp.command('data chek')": "unknown command 'data chek'; did you mean data check?",
    "comp.command('folds --nope')": "unrecognized arguments: --nope",
    "comp.command('folds \"')": "write it as in a shell",
}


@pytest.fixture(scope="module")
def one_copy(trained_workspace, tmp_path_factory) -> Path:
    """A copy of the workspace for all mistakes."""
    return shutil.copytree(trained_workspace, tmp_path_factory.mktemp("mistakes"), dirs_exist_ok=True)


@pytest.mark.parametrize("call", MISTAKES)
def test_mistake_is_one_line_without_a_chain(call, one_copy, monkeypatch):
    monkeypatch.chdir(one_copy)
    with pytest.raises(comp.UserError) as raised:
        eval(call, {"comp": comp, "np": np})
    error = raised.value
    assert MISTAKES[call] in str(error) and "\n" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    assert error._render_traceback_() == [f"error: {error}"]


def test_command_returns_the_status_that_is_not_zero(one_copy, monkeypatch, capsys):
    monkeypatch.chdir(one_copy)
    assert comp.command("submit check --help") is None and "Exit status" in capsys.readouterr().out
    Path("bad.csv").write_text("image,label\nimg_0.jpg,0\n")
    assert comp.command("submit check bad.csv data.root=input/tiny") == 1
