"""A bundle is verified before it gets its name, and predicts any test set."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from comp.cli import run_main
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.ship import bundle
from comp.ship.bundle_runtime import find_competition
from comp.ship.notebook import REQUIRED_PACKAGES, code_cells, notebook
from comp.ship.verify_bundle import EXCLUDED_PACKAGES, verify_bundle
from tests.conftest import REPO_ROOT
from tests.training.test_parallel_folds import is_alive

SUBMISSION = Path("submissions/both.csv")
MANIFEST = Path("submissions/both.json")


def test_bundle_writes_submission_and_predicts_larger_test_set(workspace, run_cli, tmp_path, monkeypatch):
    run_file = Path("runs/anna/run.json")
    write_json(run_file, read_json(run_file) | {"unlabelled_images": ["test"]})
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

    competition = Path("kaggle/input/competitions/tiny")  # other and more images than here, as in the real test set
    shutil.copytree("input/tiny/test", competition / "test")
    for folder in Path("input/tiny/train").iterdir():
        shutil.copy(next(folder.iterdir()), competition / "test" / f"more_{folder.name}.jpg")
    header = Path("input/tiny/sample_submission.csv").read_text().splitlines()[0]
    images = sorted(path.stem for path in (competition / "test").iterdir())
    (competition / "sample_submission.csv").write_text("\n".join([header, *(f"{i}{',0' * 8}" for i in images), ""]))
    monkeypatch.setenv("COMP_INPUT", str(tmp_path / "kaggle/input"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict = {}
    for cell in code_cells(Path("kaggle/input/some-dataset/notebook.ipynb").read_text()):
        exec(cell, names)
    written = pd.read_csv("submission.csv", index_col=0)
    expected = pd.read_csv("submissions/shipped.csv", index_col=0).rename(lambda name: name.removesuffix(".jpg"))
    assert list(written.index) == images and len(images) > 8 and names["timing"].images == len(images)
    pd.testing.assert_frame_equal(written.loc[expected.index], expected, atol=1e-6)
    (competition / "sample_submission.csv").unlink()  # then the bundle's own sample is used
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code_cells(Path("kaggle/input/some-dataset/notebook.ipynb").read_text())[-1], names)
    assert printed.getvalue().endswith("its models were trained with the pixels of test images\n")
    pd.testing.assert_frame_equal(
        pd.read_csv("submission.csv", index_col=0), pd.read_csv("submissions/shipped.csv", index_col=0), atol=1e-6
    )
    weights = sorted(Path("kaggle/input/some-dataset/weights").iterdir())
    shutil.copy(weights[1], weights[0])
    with pytest.raises(UserError, match=f"{weights[0].name} is not the file that was recorded when it was written"):
        exec(code_cells(Path("kaggle/input/some-dataset/notebook.ipynb").read_text())[-1], names)


def test_make_bundle_unverified_bundle_is_not_kept(workspace, run_cli, monkeypatch):
    def interrupted(*_):
        assert Path("runs/bundles/.x.zip.part").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "verify_bundle", interrupted)
    assert run_cli("comp", "bundle", "anna", "--name", "x")[0] == 130 and not list(Path("runs/bundles").iterdir())
    shutil.copy("runs/bert/fold1/weights.pt", "runs/anna/fold1/weights.pt")
    with pytest.raises(UserError, match=r"fold1/weights\.pt is not the file that the submission was made with"):
        bundle.make_bundle(SUBMISSION)


def test_make_bundle_other_runtime_is_refused(workspace):
    manifest = read_json(MANIFEST)
    manifest["members"][0]["runtime"] = "onnx"
    write_json(MANIFEST, manifest)
    with pytest.raises(UserError, match=r"a bundle computes with torch, and .* was made with onnx"):
        bundle.make_bundle(SUBMISSION)


def test_find_competition_prefers_directory_with_sample(tmp_path):
    for message, directory in (
        ("no directory below .* has test/", "bundle"),
        (None, "a/test"),
        ("2 directories", "b/c/test"),
    ):
        (tmp_path / directory).mkdir(parents=True)
        if message is None:
            assert find_competition(tmp_path) == tmp_path / "a"
        else:
            with pytest.raises(UserError, match=f"{message}.*; set ROOT"):
                find_competition(tmp_path)
    (tmp_path / "b/c/sample_submission.csv").touch()
    assert find_competition(tmp_path) == tmp_path / "b/c"
    (tmp_path / "a/sample_submission.csv").touch()
    with pytest.raises(UserError, match="2 directories below"):
        find_competition(tmp_path)


@pytest.mark.slow
def test_bundle_killed_halfway_is_replaced_by_next(workspace):
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


def test_notebook_missing_bundle_or_package_is_one_line(tmp_path, monkeypatch):
    setup = code_cells(notebook("it's {odd}"))[0]
    monkeypatch.setenv("COMP_INPUT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"the bundle it's \{odd\} is not below .*; add it"):
        exec(setup, {})
    with pytest.raises(ImportError, match=r"missing: no_such_package; take the latest environment"):
        exec(setup.replace("'timm'", "'no_such_package'"), {})
    assert not set(REQUIRED_PACKAGES) & set(EXCLUDED_PACKAGES)


GOOD_CELL = (
    "from types import SimpleNamespace\nopen('submission.csv', 'w').write('image,label\\na,1\\n')\n"
    "timing = SimpleNamespace(images=1, load_seconds=1.0, predict_seconds=2.0)"
)

BAD_CELLS = {
    "import socket; socket.socket()": "it opens a socket",
    "import _socket\ntry:\n    _socket.socket()\nexcept OSError:\n    pass": "it opens a socket",
    "import urllib.request as r\ntry:\n    r.urlopen('http://localhost:9')\nexcept OSError:\n    pass": "address of",
    "import albumentations": "albumentations",
    "open(HERE + '/runs/anna/run.json')": "run.json, which is not part of it",
    "import sys; sys.path.insert(0, REPO_ROOT); import comp.errors": "which is not part of it",
    "open(os.environ['COMP_INPUT'] + '/x', 'w')": "which is read-only",
    "raise ValueError('no such\\nluck')": "luck",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "ended by signal 9",
    "open('submission.csv', 'a').write('b,2\\n')": "wrote 3 lines where expected.csv has 2",
    "open('submission.csv', 'w').write('image,label\\na,2\\n')": "wrote 1 lines that are not those of expected.csv",
    "os.remove('submission.csv')": "it wrote no submission.csv",
}


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def make_test_bundle(cell: str) -> Path:
    """Write a bundle whose notebook is a good cell and `cell`."""
    Path("expected.csv").write_text("image,label\na,1\n")
    cells = [GOOD_CELL, f"import os; HERE, REPO_ROOT = {str(Path.cwd())!r}, {str(REPO_ROOT)!r}", cell]
    with zipfile.ZipFile("test.zip", "w") as packed:
        packed.writestr(
            "notebook.ipynb",
            json.dumps(
                {"cells": [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in cells]}
            ),
        )
    return Path("test.zip")


@pytest.mark.parametrize("cell", BAD_CELLS)
def test_verify_bundle_failure_is_one_line(cell, workspace):
    with pytest.raises(UserError, match="no bundle was written") as raised:
        verify_bundle(make_test_bundle(cell), "test", Path("input/tiny"), Path("expected.csv"))
    assert BAD_CELLS[cell] in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_verify_bundle_killed_leaves_no_process_and_no_directory(number, workspace, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    bundle_file = make_test_bundle("import time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    verify = partial(verify_bundle, bundle_file, "test", Path("input/tiny"), Path("expected.csv"))
    if not (process := os.fork()):
        os._exit(run_main(verify))
    wait_until(lambda: any(file.read_text() for file in scratch.glob("*/working/pid")))
    [file] = scratch.glob("*/working/pid")
    rehearsal = int(file.read_text())
    os.kill(process, number)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -number
    wait_until(lambda: not is_alive(rehearsal))
    assert number == signal.SIGKILL or not any(scratch.iterdir())
    with pytest.raises(UserError):  # the next bundle removes what a killed one left
        verify_bundle(make_test_bundle("raise ValueError"), "test", Path("input/tiny"), Path("expected.csv"))
    assert not any(scratch.iterdir())


def test_verify_bundle_sees_only_test_images_and_sample(workspace):
    look = (
        "import os\nassert sorted(os.listdir(os.environ['COMP_INPUT'] + '/competition')) == ["
        "'sample_submission.csv', 'test'] and os.listdir('.') == ['submission.csv']"
    )
    assert (
        verify_bundle(make_test_bundle(look), "test", Path("input/tiny"), Path("expected.csv")).predict_seconds == 2.0
    )


def test_bundle_runtime_imports_only_what_prediction_needs():
    script = "import sys, comp.ship.bundle_runtime; print(*[name for name in sys.modules if name.startswith('comp.')])"
    process = subprocess.run([sys.executable, "-c", script], cwd=REPO_ROOT, capture_output=True, text=True, check=True)
    imported = set(process.stdout.split())
    unused = {"config", "schema", "cli", "runs", "training", "blending", "observers", "study", "commands", "bench"}
    assert not imported & {f"comp.{name}" for name in unused} and "comp.submit.ledger" not in imported
    assert len(imported) <= 85, "a bundle starts on another machine: import less, or raise this number on purpose"
