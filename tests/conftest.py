"""Fixtures: a tiny drawn competition, workspaces to run the programs in, and a local stand-in for Kaggle."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
from functools import cache
from pathlib import Path

import pytest

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["WANDB_MODE"] = "disabled"  # no test may use the network; those of W&B itself set offline
os.environ.pop("WANDB_API_KEY", None)
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # `auto` is the CPU in every test, on any machine
REPO_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO_ROOT))

# 24 px and timm's smallest network, so that a training takes seconds
SMALL = [
    "data.root=input/tiny",
    "data.size=24",
    "folds.k=3",
    "train.batch=8",
    "train.precision=fp32",
    "log.wandb=off",
    "model.name=test_efficientnet",
    "train.epochs=2",
]


PROGRAM_FIXTURES = {"run_cli", "trained_workspace", "kaggle_server"}
# Their tests train models.
PROGRAM_PACKAGES = {"api", "bench", "observers", "on_disk", "papers", "prediction", "ship", "study", "training"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that train models or start processes, so that `make test-fast` can leave them out."""
    for item in items:
        starts_processes = hasattr(getattr(item, "module", None), "subprocess")
        uses_programs = PROGRAM_FIXTURES & set(getattr(item, "fixturenames", ()))
        if starts_processes or uses_programs or item.path.parent.name in PROGRAM_PACKAGES:
            item.add_marker("program")


@pytest.fixture(scope="session", autouse=True)
def no_apple_gpu() -> None:
    """Make `auto` the CPU on a Mac too."""
    import torch

    torch.backends.mps.is_available = cache(lambda: False)  # torch._dynamo reads its __wrapped__


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """48 training images of 8 classes and 8 test images."""
    from comp.data.demo import draw_competition

    root = tmp_path_factory.mktemp("drawn") / "tiny"
    draw_competition(root, per_class=6, test=8)
    return root


@pytest.fixture
def workspace(tiny_dataset: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of configs/ and of the tiny competition, as the current directory."""
    shutil.copytree(REPO_ROOT / "configs", tmp_path / "configs")
    shutil.copytree(tiny_dataset, tmp_path / "input" / "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained_workspace(tiny_dataset: Path, tmp_path_factory) -> Path:
    """A workspace with the finished runs `anna` and `bert`, which differ in their seed."""
    import torch

    from comp import config
    from comp.data.duplicates import group_ids
    from comp.data.folds import make_folds, write_folds
    from comp.data.scan import scan
    from comp.training.train import run_experiment

    workspace, previous = tmp_path_factory.mktemp("trained"), Path.cwd()
    shutil.copytree(REPO_ROOT / "configs", workspace / "configs")
    shutil.copytree(tiny_dataset, workspace / "input" / "tiny")
    os.chdir(workspace)
    try:
        dataset = scan("input/tiny")
        write_folds(Path("folds/tiny.csv"), make_folds(dataset, group_ids(dataset.train, []), 3, 42), dataset, 3, 42)
        for seed, name in enumerate(("anna", "bert")):
            [settings] = config.load("configs/deep_efficientnet.yaml", [*SMALL, f"train.seed={seed}"], name=name)
            run_experiment(settings, device=torch.device("cpu"))
    finally:
        os.chdir(previous)
    return workspace


def enter_copy(prepared: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a prepared workspace into `directory`, which becomes the current directory."""
    shutil.copytree(prepared, directory, dirs_exist_ok=True)
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def trained_copy(trained_workspace, tmp_path, monkeypatch) -> Path:
    """A copy of `trained_workspace` that the test may change; it is the current directory."""
    return enter_copy(trained_workspace, tmp_path, monkeypatch)


@pytest.fixture
def run_cli(capfd, monkeypatch):
    """Return `run_cli("train.py", ...)` -> (status, stdout, stderr), in this process: importing torch takes seconds."""
    from comp.cli import run_main

    def call(program: str, *arguments: str):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        module = importlib.import_module({"train.py": "train", "infer.py": "infer"}.get(program, "comp.__main__"))
        status = run_main(module.main)
        return status, *capfd.readouterr()

    return call


@pytest.fixture
def kaggle_server(tmp_path, monkeypatch):
    """A stand-in for Kaggle on localhost, and the real client directed to it; any other address fails the test."""
    from comp.submit import kaggle
    from tests.kaggle_service import Service

    for name in [name for name in os.environ if name.lower().startswith(("kaggle_", "no_proxy", "all_proxy"))]:
        monkeypatch.delenv(name)
    service = Service()
    for name, value in service.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    connect = socket.socket.connect

    def guarded(self, address):
        assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", f"a test connected to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    kaggle._client.cache_clear()
    yield service
    kaggle._client.cache_clear()
    service.close()
    assert not service.unexpected
