"""A submission is made again to the byte, or it is said why not; a bundle is tried before it is called one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from comp import runs
from comp.blending.infer import InferOptions, infer
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.ship import bundle
from comp.ship.bundle_runtime import find_competition
from comp.ship.changes import possible_causes
from comp.ship.notebook import REQUIRED_PACKAGES, code_cells, notebook
from comp.ship.reproduce import member_folds
from comp.ship.verify_bundle import EXCLUDED_PACKAGES, verify_bundle
from tests.conftest import REPO_ROOT


@pytest.fixture(scope="module")
def shipped(trained_workspace, tmp_path_factory) -> Path:
    """Two runs, and a submission of both that shows every digit: a probability per class."""
    place, before = tmp_path_factory.mktemp("shipped"), Path.cwd()
    shutil.copytree(trained_workspace, place, dirs_exist_ok=True)
    os.chdir(place)
    try:
        classes = sorted(path.name for path in Path("input/tiny/train").iterdir())
        rows = [f"img_{number}.jpg,{',0.125' * 8}\n".replace(",,", ",") for number in (3, 1, 0, 2, 7, 5, 4, 6)]
        Path("input/tiny/sample_submission.csv").write_text(f"image,{','.join(classes)}\n{''.join(rows)}")
        infer(runs.find_runs(["anna", "bert"]), InferOptions("stack", "flips", name="both"))
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def workspace(shipped, tmp_path, monkeypatch) -> Path:
    shutil.copytree(shipped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SENT = Path("submissions/both.csv")
NOTE = Path("submissions/both.json")


# ---- made again ----


def test_a_submission_that_is_gone_comes_back_from_the_weights_alone(workspace, run_cli):
    before = SENT.read_bytes()
    assert run_cli("comp", "submit", "reproduce", "both")[:2] == (
        0,
        f"{SENT}: the same bytes, sha256 {read_json(NOTE)['sha256'][:12]}\n",
    )
    SENT.unlink()
    for file in Path("runs").rglob("test_fold*.csv"):  # nothing of what lies there is believed
        file.write_text("image,label\n")
    status, out, _ = run_cli("comp", "submit", "reproduce", "submissions/both.csv")
    assert status == 0 and out.endswith("written again\n") and SENT.read_bytes() == before
    assert run_cli("comp", "submit", "check", "both")[0] in (0, 1)


def weights_of_another() -> None:
    shutil.copy("runs/bert/fold1/weights.pt", "runs/anna/fold1/weights.pt")


def no_weights() -> None:
    Path("runs/anna/fold2/weights.pt").unlink()


def no_run() -> None:
    shutil.rmtree("runs/bert")


def another_picture() -> None:
    shutil.copy("input/tiny/test/img_0.jpg", "input/tiny/test/img_1.jpg")


def one_picture_less() -> None:
    Path("input/tiny/test/img_3.jpg").unlink()


def another_sample() -> None:
    sample = Path("input/tiny/sample_submission.csv")
    sample.write_bytes(sample.read_bytes().replace(b"img_3.jpg", b"img_3"))


def another_class() -> None:
    Path("input/tiny/train/platelet").rename("input/tiny/train/thrombocyte")
    Path("input/tiny/class_map.json").unlink()


def classes_that_disagree() -> None:
    Path("input/tiny/train/platelet").rename("input/tiny/train/thrombocyte")


def another_blend() -> None:
    note = read_json(NOTE)
    note["blend"]["parts"][0]["temperature"] *= 1.01
    write_json(NOTE, {**note, "versions": {**note["versions"], "torch": "1.0"}})


CHANGES = {
    weights_of_another: "changed: the weights of anna, fold 1: runs/anna/fold1/weights.pt holds others",
    no_weights: "changed: the weights of anna, fold 2: runs/anna/fold2/weights.pt is missing",
    no_run: "changed: the run bert is not there",
    another_picture: "changed: the test images: input/tiny/test holds others, or other bytes (8 now)",
    one_picture_less: "such as img_3.jpg",
    another_sample: "changed: the sample submission of input/tiny is another",
    another_class: "changed: the classes of input/tiny, or their order: ",
    classes_that_disagree: "changed: input/tiny/class_map.json and the folders of train/ disagree about: platelet, ",
    another_blend: "perhaps: torch 1.0 then",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_named_and_nothing_is_written(change, workspace, run_cli):
    change()
    SENT.unlink()
    status, out, err = run_cli("comp", "submit", "reproduce", "both")
    assert (status, err) == (1, "") and CHANGES[change] in out and not SENT.exists()
    assert ("perhaps" in out) == (change in (another_picture, another_sample, another_blend))  # where it was computed


def test_other_training_images_are_named_where_the_bytes_differ(workspace):
    assert not any("training images" in line for line in possible_causes(read_json(NOTE)))
    shutil.copy("input/tiny/test/img_0.jpg", "input/tiny/train/platelet/one_more.jpg")
    assert any("the list of training images changed" in line for line in possible_causes(read_json(NOTE)))


def test_folds_are_asked_in_the_order_of_the_note():
    assert member_folds({"weights_sha256": {"2": "a", "0": "b"}}) == [2, 0]
    assert member_folds({"weights_sha256": {"full": "a"}}) == ["full"]


def test_an_edited_file_is_not_overwritten(workspace, run_cli):
    SENT.write_bytes(SENT.read_bytes() + b"\n")
    status, out, _ = run_cli("comp", "submit", "reproduce", "both")
    assert status == 1 and "holds other bytes than were written" in out and SENT.read_bytes().endswith(b"\n\n")


@pytest.mark.parametrize(
    ("note", "complaint"),
    [
        (None, "there is no note of a submission both"),
        ("{", "is not readable JSON"),
        ("{}", "no note of this version"),
        ('{"schema": 1, "sha256": "x"}', "does not say how it was made"),
    ],
)
def test_what_cannot_be_read_is_one_line(note, complaint, workspace, run_cli):
    if note is None:
        NOTE.unlink()
    else:
        NOTE.write_text(note)
    status, _, err = run_cli("comp", "submit", "reproduce", "both")
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and complaint in err


# ---- a bundle ----


def test_a_bundle_writes_the_submission_and_answers_a_larger_test_set(workspace, run_cli, tmp_path, monkeypatch):
    status, out, err = run_cli(
        "comp", "bundle", "anna", "bert", "--blend", "weights", "--tta", "flips", "--name", "shipped"
    )
    file = Path("runs/bundles/shipped.zip")
    assert (status, err) == (0, "") and f"wrote {file}: " in out and "the same bytes in" in out
    assert [path.name for path in file.parent.iterdir()] == ["shipped.zip"]
    with zipfile.ZipFile(file) as packed:
        packed.extractall("kaggle/input/some-dataset")
        contents = [packed.read(name) for name in packed.namelist()]
    assert not any(str(path).encode() in content for path in (workspace, REPO_ROOT) for content in contents)

    there = Path("kaggle/input/competitions/tiny")  # other images than here, and more: those of the real test
    shutil.copytree("input/tiny/test", there / "test")
    for folder in Path("input/tiny/train").iterdir():
        shutil.copy(next(folder.iterdir()), there / "test" / f"more_{folder.name}.jpg")
    header = Path("input/tiny/sample_submission.csv").read_text().splitlines()[0]
    images = sorted(path.stem for path in (there / "test").iterdir())
    (there / "sample_submission.csv").write_text("\n".join([header, *(f"{i}{',0' * 8}" for i in images), ""]))
    monkeypatch.setenv("COMP_INPUT", str(tmp_path / "kaggle/input"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict = {}
    for cell in code_cells(Path("kaggle/input/some-dataset/notebook.ipynb").read_text()):
        exec(cell, names)
    written = pd.read_csv("submission.csv", index_col=0)
    known = pd.read_csv("submissions/shipped.csv", index_col=0).rename(lambda name: name.removesuffix(".jpg"))
    assert list(written.index) == images and len(images) > 8 and names["took"].images == len(images)
    pd.testing.assert_frame_equal(written.loc[known.index], known, atol=1e-6)
    (there / "sample_submission.csv").unlink()  # then the bundle's own says what is asked for
    exec(code_cells(Path("kaggle/input/some-dataset/notebook.ipynb").read_text())[-1], names)
    pd.testing.assert_frame_equal(
        pd.read_csv("submission.csv", index_col=0), pd.read_csv("submissions/shipped.csv", index_col=0), atol=1e-6
    )


def test_a_bundle_that_was_not_rehearsed_is_none(workspace, run_cli, monkeypatch):
    def interrupted(*_):
        assert Path("runs/bundles/.x.zip.part").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "verify_bundle", interrupted)
    assert run_cli("comp", "bundle", "anna", "--name", "x")[0] == 130 and not list(Path("runs/bundles").iterdir())
    weights_of_another()
    with pytest.raises(UserError, match=r"fold1/weights\.pt is not what the submission was made with"):
        bundle.make_bundle(SENT)


def test_what_another_runtime_computed_is_not_bundled(workspace):
    note = read_json(NOTE)
    note["members"][0]["runtime"] = "onnx"
    write_json(NOTE, note)
    with pytest.raises(UserError, match=r"a bundle computes with torch, and .* was made with onnx"):
        bundle.make_bundle(SENT)


def test_the_competition_is_found_by_its_sample_or_it_is_said_why_not(tmp_path):
    for complaint, place in (("no folder below .* has test/", "bundle"), (None, "a/test"), ("2 folders", "b/c/test")):
        (tmp_path / place).mkdir(parents=True)
        if complaint is None:
            assert find_competition(tmp_path) == tmp_path / "a"
        else:
            with pytest.raises(UserError, match=f"{complaint}.*; set ROOT"):
                find_competition(tmp_path)
    (tmp_path / "b/c/sample_submission.csv").touch()
    assert find_competition(tmp_path) == tmp_path / "b/c"
    (tmp_path / "a/sample_submission.csv").touch()
    with pytest.raises(UserError, match="2 folders below"):
        find_competition(tmp_path)


@pytest.mark.slow
def test_a_bundle_killed_halfway_is_none_and_the_next_is_whole(workspace):
    command = [sys.executable, "-m", "comp", "bundle", "anna", "--name", "x"]
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    process = subprocess.Popen(command, env=environment)
    while not Path("runs/bundles/.x.zip.part").is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(Path("runs/bundles").glob("*.zip"))
    subprocess.run(command, env=environment, check=True)
    assert [path.name for path in Path("runs/bundles").iterdir()] == ["x.zip"]


def test_the_notebook_says_in_one_line_what_it_lacks(tmp_path, monkeypatch):
    look = code_cells(notebook("it's {odd}"))[0]
    monkeypatch.setenv("COMP_INPUT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"the bundle it's \{odd\} is not below .*; add it"):
        exec(look, {})
    with pytest.raises(ImportError, match=r"this needs no_such_package; take the latest environment"):
        exec(look.replace("'timm'", "'no_such_package'"), {})
    assert not set(REQUIRED_PACKAGES) & set(EXCLUDED_PACKAGES)


# ---- the rehearsal itself, on plays of a line or two ----

GOOD = (
    "from types import SimpleNamespace\nopen('submission.csv', 'w').write('image,label\\na,1\\n')\n"
    "took = SimpleNamespace(images=1, start=1.0, work=2.0)"
)
BAD = {
    "import socket; socket.socket()": "it opens a socket",
    "import _socket\ntry:\n    _socket.socket()\nexcept OSError:\n    pass": "it opens a socket",
    "import urllib.request as r\ntry:\n    r.urlopen('http://localhost:9')\nexcept OSError:\n    pass": "address of",
    "import albumentations": "albumentations",
    "open(HERE + '/runs/anna/run.json')": "run.json, which is no part of it",
    "import sys; sys.path.insert(0, REPO_ROOT); import comp.errors": "which is no part of it",
    "open(os.environ['COMP_INPUT'] + '/x', 'w')": "where nothing can be written",
    "raise ValueError('no such\\nluck')": "luck",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "ended by signal 9",
    "open('submission.csv', 'a').write('b,2\\n')": "wrote 3 lines where expected.csv has 2",
    "open('submission.csv', 'w').write('image,label\\na,2\\n')": "wrote 1 lines that are not those of expected.csv",
    "os.remove('submission.csv')": "it wrote no submission.csv",
}


def play(cell: str) -> Path:
    Path("expected.csv").write_text("image,label\na,1\n")
    cells = [GOOD, f"import os; HERE, REPO_ROOT = {str(Path.cwd())!r}, {str(REPO_ROOT)!r}", cell]
    with zipfile.ZipFile("play.zip", "w") as packed:
        packed.writestr(
            "notebook.ipynb",
            json.dumps({"cells": [{"cell_type": "code", "source": each.splitlines(keepends=True)} for each in cells]}),
        )
    return Path("play.zip")


@pytest.mark.parametrize("cell", BAD)
def test_a_rehearsal_that_fails_says_why_in_one_line(cell, workspace):
    with pytest.raises(UserError, match="nothing was packed") as problem:
        verify_bundle(play(cell), "play", Path("input/tiny"), Path("expected.csv"))
    assert BAD[cell] in str(problem.value) and "\n" not in str(problem.value)


def test_a_rehearsal_sees_the_test_images_and_the_sample_and_nothing_else(workspace):
    look = (
        "import os\nassert sorted(os.listdir(os.environ['COMP_INPUT'] + '/competition')) == ["
        "'sample_submission.csv', 'test'] and os.listdir('.') == ['submission.csv']"
    )
    assert verify_bundle(play(look), "play", Path("input/tiny"), Path("expected.csv")).work == 2.0
