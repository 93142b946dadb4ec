"""A training whose predictions this machine cannot hold is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from comp.errors import UserError
from comp.training import size
from comp.training.size import available_memory, check_size
from tests.conftest import SMALL

SPLIT = pd.DataFrame({"fold": [0] * 20_000 + [1] * 20_000 + [-1] * 500})


def set_free(monkeypatch, memory: int | None, disk: int) -> None:
    monkeypatch.setattr(size, "available_memory", lambda: memory)
    monkeypatch.setattr(size.shutil, "disk_usage", lambda path: SimpleNamespace(free=disk))


def test_check_size_counts_the_validation_images_of_the_folds(monkeypatch):
    one_fold = 4 * 20_000 * 10_000
    set_free(monkeypatch, 10 * one_fold, 3 * one_fold)
    check_size(SPLIT, [0], 0, 10_000)
    with pytest.raises(
        UserError, match=r"^the predictions of 40,000 validation and 0 test images for 10,000 classes take about"
    ):
        check_size(SPLIT, [0, 1], 0, 10_000)
    check_size(SPLIT, ["full"], 0, 10_000)  # validates nothing


def test_check_size_counts_the_test_images_of_each_fold_model(monkeypatch):
    one_fold = 4 * 100_000 * 10_000
    set_free(monkeypatch, 6 * one_fold, 10**14)
    check_size(SPLIT, [0], 100_000, 10_000)
    with pytest.raises(UserError, match=r"and 100,000 test images for 10,000 classes take about 48\.0 GB of memory"):
        check_size(SPLIT, [0, 1], 100_000, 10_000)


@pytest.mark.parametrize(("memory", "disk", "kind"), [(10**9, 10**12, "memory"), (10**12, 10**9, "disk")])
def test_check_size_names_what_is_short_and_the_ways_out(memory, disk, kind, monkeypatch):
    set_free(monkeypatch, memory, disk)
    with pytest.raises(
        UserError, match=rf"GB of {kind}, and 1\.0 GB are free; train fewer folds \(--fold 0\), .* with more {kind}$"
    ):
        check_size(SPLIT, [0, 1], 0, 20_000)


def test_check_size_without_a_known_limit_or_of_a_small_table_passes(monkeypatch):
    set_free(monkeypatch, None, 10**12)
    check_size(SPLIT, [0, 1], 0, 20_000)
    set_free(monkeypatch, 0, 0)
    check_size(SPLIT, [0, 1], 10, 1_000)


def test_available_memory_is_between_nothing_and_a_petabyte():
    memory = available_memory()
    assert memory is None or 0 < memory < 10**15


def test_train_predictions_that_do_not_fit_are_refused_before_a_run_exists(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    monkeypatch.setattr(size, "MIN_BYTES", 0)
    set_free(monkeypatch, 1000, 10**12)
    status, _, err = run_cli("train.py", "--name", "x", *SMALL)
    assert (
        status == 2
        and err.startswith("error: the predictions of 48 validation and 8 test images")
        and err.count("\n") == 1
    )
    assert not Path("runs/x").exists()
