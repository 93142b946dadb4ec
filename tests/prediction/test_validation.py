"""The validation predictions of a training are those that it wrote, or an error; metrics are made of no others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from comp import runs
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.prediction.validation import read_validation
from comp.runs import Run
from comp.training.setup import setup_from_run
from comp.training.summary import write_metrics

CPU = torch.device("cpu")
TABLE = Path("runs/anna/fold1/last.csv")


@pytest.fixture
def anna(trained_workspace, tmp_path, monkeypatch) -> Run:
    shutil.copytree(trained_workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    [run] = runs.find_runs(["anna"])
    return run


def forget_hashes() -> None:
    """Make fold 1 one of an older version, which recorded no hash of its tables."""
    file = Path("runs/anna/fold1/fold.json")
    record = read_json(file)
    assert set(record.pop("validation_sha256")) == {"best.csv", "last.csv"}
    write_json(file, record)


def change_table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(TABLE)).to_csv(TABLE, index=False)


def swap_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=table["label"].iloc[::-1].tolist())


@pytest.mark.parametrize(
    ("change", "old_reason"),
    [
        (lambda: change_table(lambda table: table.iloc[1:]), "has other images or labels than fold 1"),
        (lambda: change_table(swap_labels), "has other images or labels than fold 1"),
        (lambda: change_table(lambda table: table.assign(fold=0)), "is not of fold 1"),
        (lambda: shutil.copy("runs/anna/fold0/last.csv", TABLE), "is not of fold 1"),
        (lambda: change_table(lambda table: table.assign(basophil=5)), "not between 0 and 1"),
        (lambda: shutil.copy("runs/bert/fold1/last.csv", TABLE), None),  # nothing in an old file tells
    ],
)
def test_write_metrics_other_validation_table_is_refused(change, old_reason, anna):
    setup, metrics = setup_from_run(anna, CPU), Path("runs/anna/metrics.json").read_bytes()
    change()
    with pytest.raises(UserError, match=r"fold1/last\.csv is not what the training wrote.*train the fold again"):
        read_validation(anna, 1, "last")
    with pytest.raises(UserError, match=r"fold1/last\.csv is not what the training wrote"):
        write_metrics(setup)
    if old_reason:
        forget_hashes()
        with pytest.raises(UserError, match=old_reason):
            write_metrics(setup)
    assert Path("runs/anna/metrics.json").read_bytes() == metrics


def test_read_validation_missing_table_is_one_error(anna):
    TABLE.unlink()
    with pytest.raises(UserError, match=r"fold1/last\.csv is missing; restore it, or delete .* and train the fold aga"):
        read_validation(anna, 1, "last")


def test_write_metrics_weights_other_than_recorded_are_refused(anna):
    setup = setup_from_run(anna, CPU)
    shutil.copy("runs/anna/fold1/weights.pt", "runs/anna/fold0/weights.pt")
    with pytest.raises(UserError, match=r"fold0/weights\.pt is not the file that was recorded"):
        write_metrics(setup)


def test_write_metrics_oof_keeps_the_images_of_the_training(anna):
    """Images that changed after a training do not become those that its predictions were made of."""
    oof = Path("runs/anna/predictions/identity/oof.from.json")
    trained_on = read_json(oof)["images"]
    assert {anna.fold_dir(fold).read_record().images for fold in range(3)} == {trained_on}
    image = next(Path("input/tiny/train").rglob("*.jpg"))
    image.write_bytes(Path("input/tiny/test/img_0.jpg").read_bytes())
    setup = setup_from_run(anna, CPU)
    write_metrics(setup)
    assert read_json(oof)["images"] == trained_on != setup.image_key
    fold_dir = anna.fold_dir(2)
    replace(fold_dir.read_record(), images=setup.image_key).write(fold_dir.path / "fold.json")
    write_metrics(setup)
    assert read_json(oof)["images"] not in (trained_on, setup.image_key)  # neither is true of the whole table
