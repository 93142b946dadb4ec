"""Two trained runs, and a submission that blends both."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from comp import runs
from comp.blending.infer import InferOptions, infer
from tests.conftest import enter_copy


@pytest.fixture(scope="session")
def served(trained_workspace, tmp_path_factory) -> Path:
    """A directory with the runs anna and bert, and the submissions `anna` and `both`."""
    directory, before = tmp_path_factory.mktemp("served"), Path.cwd()
    shutil.copytree(trained_workspace, directory, dirs_exist_ok=True)
    os.chdir(directory)
    try:
        infer(runs.find_runs(["anna"]), InferOptions(name="anna"))
        infer(runs.find_runs(["anna", "bert"]), InferOptions("geometric", "flips", name="both"))
    finally:
        os.chdir(before)
    return directory


@pytest.fixture
def workspace(served, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the current directory."""
    return enter_copy(served, tmp_path, monkeypatch)
