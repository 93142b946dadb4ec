"""A run on another machine than the one it was begun on, and on one that is too small for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from comp.files import read_json
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
