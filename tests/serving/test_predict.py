"""python -m comp predict: the probabilities of infer.py for any image, and what happens when files change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from comp import runs
from comp.blending.infer import InferOptions
from comp.blending.members import open_members, predict_test
from comp.data.scan import scan
from comp.ensemble.blend import Blend
from comp.errors import UserError
from comp.rows import Rows
from comp.serving.model import open_model
from comp.serving.reference import parse_reference
from comp.submit.manifest import read_manifest
from tests.conftest import REPO_ROOT

TEST = "input/tiny/test"
ONE = f"{TEST}/img_0.jpg"


def infer_probabilities(names: list[str], submission: str) -> pd.DataFrame:
    """Return the probabilities behind a submission, as infer.py computes them."""
    manifest = read_manifest(Path(f"submissions/{submission}.csv"))
    members = open_members(runs.find_runs(names), InferOptions(device="cpu"))
    test = scan("input/tiny").test
    blend = Blend.from_spec(manifest.blend, manifest.classes)
    return predict_test(blend, members, test, Rows.of_images([image.id for image in test]))


@pytest.mark.parametrize(("reference", "names"), [("anna", ["anna"]), ("submissions/both.csv", ["anna", "bert"])])
def test_predict_equals_infer_to_the_bit(reference, names, workspace, run_cli):
    status, out, err = run_cli("comp", "predict", TEST, "--run", reference, "--csv", "answers.csv", "--device", "cpu")
    assert (status, err) == (0, "") and out.startswith("wrote answers.csv: 8 images")
    expected = infer_probabilities(names, Path(reference).stem)
    answers = pd.read_csv("answers.csv", index_col="image")
    assert [Path(image).name for image in answers.index] == list(expected.index)
    as_written = expected.map(lambda value: float(f"{value:.9g}"))
    assert np.array_equal(answers[expected.columns].to_numpy(), as_written.to_numpy())
    assert list(answers["answer"]) == list(expected.idxmax(axis=1))


def test_predict_by_onnx_agrees_with_torch_and_imports_neither_torch_nor_pandas(workspace, run_cli):
    run_cli("comp", "predict", TEST, "--run", "both", "--csv", "torch.csv", "--device", "cpu")
    status, out, err = run_cli("comp", "predict", ONE, "--run", "both", "--runtime", "onnx", "--json")
    assert (status, err) == (0, "")
    [image] = json.loads(out[out.index("{") :])["images"]
    expected = pd.read_csv("torch.csv", index_col="image").loc[image["image"]]
    assert image["answer"] == expected["answer"]
    assert max(abs(image["predictions"][name] - expected[name]) for name in image["predictions"]) < 1e-5
    code = (
        f"import sys; sys.path.insert(0, {str(REPO_ROOT)!r}); sys.argv = ['comp', 'predict', {ONE!r}, '--run', 'both', "
        "'--runtime', 'onnx']\nfrom comp.__main__ import main\nmain()\n"
        "print([name for name in ('torch', 'pandas', 'sklearn', 'scipy', 'timm') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]" and image["answer"] in output


def test_predict_uses_new_weights_at_once_and_refuses_them_for_an_old_submission(workspace, run_cli):
    before = open_model("anna", device="cpu").predict([cv2.imread(ONE)])
    for name in ("weights.pt", "fold.json"):
        shutil.copy(f"runs/bert/fold0/{name}", f"runs/anna/fold0/{name}")
    status, _, err = run_cli("comp", "predict", ONE, "--run", "anna", "--device", "cpu")
    assert status == 2 and "runs/anna/fold0/weights.pt" in err  # of another run: named, not used
    shutil.rmtree("runs/anna")
    shutil.copytree("runs/bert", "runs/anna")
    status, _, err = run_cli("comp", "predict", ONE, "--run", "submissions/both.csv", "--device", "cpu")
    assert status == 2 and err.startswith("error: submissions/both.csv was made with other weights than runs/anna")
    assert not np.array_equal(before, open_model("bert", device="cpu").predict([cv2.imread(ONE)]))


def test_predict_names_images_that_cannot_be_read_and_answers_the_others(workspace, run_cli):
    Path("inbox").mkdir()
    shutil.copy(ONE, "inbox/a.jpg")
    Path("inbox/b.png").write_bytes(b"<svg onload='alert(1)'/>")
    status, out, err = run_cli("comp", "predict", "inbox", "--run", "anna", "--device", "cpu")
    assert status == 2 and "inbox/a.jpg" in out and "inbox/b.png" not in out
    assert err.startswith("error: 1 of 2 images could not be read, such as inbox/b.png: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jpg", "--run", "anna"], "error: nothing.jpg is no image"),
        ([ONE, "--run", "ana"], "error: there is no run ana; did you mean anna?"),
        ([ONE, "--run", "submissions/bot.csv"], "error: there is no manifest of a submission bot"),
        ([ONE, "--run", "anna", "--watch"], "error: --watch needs one folder and --csv FILE"),
    ],
)
def test_predict_mistakes_are_one_line(arguments, message, workspace, run_cli):
    status, out, err = run_cli("comp", "predict", *arguments)
    assert (status, out) == (2, "") and err.startswith(message) and err.count("\n") == 1
    assert not Path("runs/served").exists()


def test_parse_reference_prefers_runs_and_knows_blends_and_submissions(workspace):
    runs_and_paths = ("anna", "runs/anna/", f"{workspace}/runs/anna")
    references = (*runs_and_paths, "both", "blends/both", "runs/blends/both", "submissions/both.csv", "new")
    assert [(parse_reference(text).kind, parse_reference(text).name) for text in references] == [
        *[("runs", "anna")] * 3,
        *[("submissions", "both")] * 4,
        ("runs", "new"),
    ]
    for text in ("../elsewhere/runs/anna", "/elsewhere/runs/anna", "", "."):
        with pytest.raises(UserError, match="is no run or submission of this directory"):
            parse_reference(text)
