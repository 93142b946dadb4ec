"""Two trained runs and a submission of both, for the tests of reproduction and bundles."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from comp import runs
from comp.blending.infer import InferOptions, infer
from tests.conftest import enter_copy


@pytest.fixture(scope="module")
def shipped(trained_workspace, tmp_path_factory) -> Path:
    """A directory with two runs and a submission of both, with a probability per class: it shows every digit."""
    directory, before = tmp_path_factory.mktemp("shipped"), Path.cwd()
    shutil.copytree(trained_workspace, directory, dirs_exist_ok=True)
    os.chdir(directory)
    try:
        classes = sorted(path.name for path in Path("input/tiny/train").iterdir())
        rows = [f"img_{number}.jpg,{',0.125' * 8}\n".replace(",,", ",") for number in (3, 1, 0, 2, 7, 5, 4, 6)]
        Path("input/tiny/sample_submission.csv").write_text(f"image,{','.join(classes)}\n{''.join(rows)}")
        infer(runs.find_runs(["anna", "bert"]), InferOptions("stack", "flips", name="both"))
    finally:
        os.chdir(before)
    return directory


@pytest.fixture
def workspace(shipped, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the current directory."""
    return enter_copy(shipped, tmp_path, monkeypatch)
