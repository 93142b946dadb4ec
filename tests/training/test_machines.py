"""A run on another machine than the one it was begun on, and on one that is too small for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from comp.engine.device import use_deterministic_algorithms
from comp.errors import UserError
from comp.files import read_json
from comp.training.fit_memory import halve_until_fits
from tests.conftest import SMALL


def change_record(run: str, **changes: object) -> None:
    path = Path("runs") / run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_train_run_in_a_precision_that_the_device_emulates_is_one_warning(trained_copy, run_cli, monkeypatch):
    monkeypatch.setattr("comp.engine.precision.cpu_computes_bf16", lambda: False)
    command = ["train.py", "--fold", "0", *SMALL, "train.seed=0", "--name", "anna"]
    assert run_cli(*command)[2] == ""
    change_record("anna", precision="bf16")
    status, _, err = run_cli(*command)
    assert status == 0 and err.startswith("warning: the run computes in bf16, which cpu emulates")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_train_out_of_memory_is_one_line_with_three_ways_out(trained_copy, run_cli, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("comp.training.train.prepare_training", fail)
    status, _, err = run_cli("train.py", "--fold", "0", *SMALL, "train.seed=0", "--name", "big")
    assert status == 2 and err.count("\n") == 1
    for way_out in ("train.batch=4 train.accumulate=2", "augment.device=cpu", "--jobs"):
        assert way_out in err
    assert read_json(Path("runs/big/fold0/fold.json"))["status"] == "failed"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUBLAS_ALLOC_FAILED")])
def test_halve_until_fits_returns_the_first_batch_that_does(error):
    tried = []

    def take_step(batch: int) -> None:
        tried.append(batch)
        if batch > 8:
            raise error

    assert halve_until_fits(33, take_step) == 8 and tried == [33, 16, 8]


def test_halve_until_fits_other_errors_and_a_model_that_is_too_large_are_errors():
    def fail_with(error: RuntimeError):
        def take_step(_: int) -> None:
            raise error

        return take_step

    with pytest.raises(UserError, match="no batch of 2 images fits"):
        halve_until_fits(32, fail_with(torch.OutOfMemoryError("CUDA out of memory.")))
    with pytest.raises(RuntimeError, match="shapes"):
        halve_until_fits(32, fail_with(RuntimeError("shapes")))


def test_train_fit_memory_trains_as_the_smaller_batch_and_a_resume_keeps_it(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    command = ["train.py", "--fold", "0", *SMALL, "train.epochs=1"]
    assert run_cli(*command, "train.batch=4", "train.accumulate=2", "--name", "small")[0] == 0
    fitted = [*command, "train.batch=8", "train.fit_memory=true", "--name", "fitted"]
    monkeypatch.setattr("comp.training.setup.fit_batch", lambda *_: 4)
    status, out, _ = run_cli(*fitted, "--debug")
    assert status == 0 and "fitted: batches of 4 images, 2 to an update" in out
    assert run_cli(*fitted)[0] == 0 and read_json(Path("runs/fitted/run.json"))["fitted_batch"] == 4
    weights = [
        torch.load(f"runs/{name}/fold0/weights.pt", weights_only=True)["state_dict"] for name in ("small", "fitted")
    ]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    monkeypatch.setattr("comp.training.setup.fit_batch", lambda *_: pytest.fail("tried again"))
    assert "fitted: batches of 4" in run_cli(*fitted)[1]


def test_train_cuda_graph_without_a_gpu_is_an_error_and_no_run_is_created(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    status, _, err = run_cli("train.py", "--fold", "0", *SMALL, "train.cuda_graph=on", "--name", "graph")
    assert status == 2 and err.startswith("error: train.cuda_graph=on is impossible here: the device is cpu")
    assert not Path("runs/graph").exists()


@pytest.fixture
def restored_algorithms(monkeypatch):
    """Undo what a test sets for the whole process."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("device", "is_set"), [("cuda", True), ("cpu", False)])
def test_use_deterministic_algorithms_is_for_gpus(restored_algorithms, device, is_set):
    use_deterministic_algorithms(torch.device(device))
    assert torch.are_deterministic_algorithms_enabled() == is_set
    assert torch.backends.cudnn.benchmark == (not is_set)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if is_set else None)


@pytest.mark.parametrize("deterministic", [True, False])
def test_train_deterministic_is_set_in_the_process_that_trains_and_names_what_cannot(
    trained_copy, run_cli, monkeypatch, deterministic
):
    devices = []

    def fail(*_):
        raise RuntimeError("upsample_backward does not have a deterministic implementation, but you set ...")

    for module in ("setup", "train"):
        monkeypatch.setattr(f"comp.training.{module}.use_deterministic_algorithms", devices.append)
    monkeypatch.setattr("comp.training.train.prepare_training", fail)
    overrides = [*SMALL, f"train.deterministic={str(deterministic).lower()}", "train.seed=0", "--name", "bits"]
    status, _, err = run_cli("train.py", "--fold", "0", *overrides)
    assert status == 2 and err.startswith("error: fold 0 of bits: upsample_backward has no deterministic algorithm")
    assert devices == [torch.device("cpu")] * (2 if deterministic else 0)
