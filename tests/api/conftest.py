"""A small demo, trained and predicted through `import comp` alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

import comp
from tests.conftest import REPO_ROOT, SMALL, enter_copy


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory) -> Path:
    """A workspace in which `demo` is trained, and the submission `demo` made of it."""
    directory, before = tmp_path_factory.mktemp("api"), Path.cwd()
    shutil.copytree(REPO_ROOT / "configs", directory / "configs")
    file = directory / "configs" / "demo.yaml"
    tree = yaml.safe_load(file.read_text())
    for section, _, text in (word.partition(".") for word in SMALL[1:]):
        key, _, value = text.partition("=")
        tree.setdefault(section, {})[key] = yaml.safe_load(value)
    file.write_text(yaml.safe_dump(tree).replace("wandb: false", "wandb: 'off'"))
    os.chdir(directory)
    try:
        comp.command("data demo --per-class 6 --test 8")
        comp.command("folds -c configs/demo.yaml")
        comp.infer(comp.train("configs/demo.yaml", name="demo"), tta="flips", name="both")
    finally:
        os.chdir(before)
    return directory


@pytest.fixture
def workspace(small_demo, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the current directory."""
    return enter_copy(small_demo, tmp_path, monkeypatch)
