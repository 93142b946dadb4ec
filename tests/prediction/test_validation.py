"""The validation predictions of a training are those that it wrote, or an error; metrics are made of no others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from comp.data.scan import Image
from comp.errors import UserError
from comp.files import read_json, write_json
from comp.prediction.validation import read_validation, write_validation
from comp.prediction_file import find_table, read_any_predictions, write_predictions
from comp.runs import FoldDir
from comp.tables import write_csv
from comp.training.setup import setup_from_run
from comp.training.summary import write_metrics
from tests.predictions import make_old

CPU = torch.device("cpu")
TABLE = Path("runs/anna/fold1/last.npz")


def forget_hashes() -> None:
    """Make fold 1 one of an older version, which recorded no hash of its tables."""
    file = Path("runs/anna/fold1/fold.json")
    record = read_json(file)
    assert "last.npz" in record.pop("validation_sha256")
    write_json(file, record)
    for path in (TABLE, TABLE.with_name("best.npz")):
        if path.is_file():
            make_old(path)


def change_table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    file = find_table(TABLE)
    stored = read_any_predictions(file)
    table = change(stored.table.reset_index())
    write_csv(file, table) if file.suffix == ".csv" else write_predictions(file, table, stored.columns)


def copy_table(directory: str) -> None:
    file = find_table(TABLE)
    source = Path(directory, file.name)
    shutil.copy(source if source.is_file() else make_old(source.with_suffix(".npz")), file)


def swap_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=table["label"].iloc[::-1].tolist())


@pytest.mark.parametrize(
    ("change", "old_reason"),
    [
        (lambda: change_table(lambda table: table.iloc[1:]), "have other images or labels than fold 1"),
        (lambda: change_table(swap_labels), "have other images or labels than fold 1"),
        (lambda: change_table(lambda table: table.assign(fold=0)), "is not of fold 1"),
        (lambda: copy_table("runs/anna/fold0"), "is not of fold 1"),
        (lambda: change_table(lambda table: table.assign(basophil=5)), "not between 0 and 1"),
        (lambda: copy_table("runs/bert/fold1"), None),  # nothing in an old file tells
    ],
)
def test_write_metrics_other_validation_table_is_refused(change, old_reason, anna):
    setup, metrics = setup_from_run(anna, CPU), Path("runs/anna/metrics.json").read_bytes()
    change()
    with pytest.raises(UserError, match=r"fold1/last\.npz is not what the training wrote.*train the fold again"):
        read_validation(anna, 1, "last")
    with pytest.raises(UserError, match=r"fold1/last\.npz is not what the training wrote"):
        write_metrics(setup)
    if old_reason:
        forget_hashes()
        with pytest.raises(UserError, match=old_reason):
            write_metrics(setup)
    assert Path("runs/anna/metrics.json").read_bytes() == metrics


def test_read_validation_missing_table_is_one_error(anna):
    TABLE.unlink()
    with pytest.raises(UserError, match=r"fold1/last\.npz is missing; restore it, or delete .* and train the fold aga"):
        read_validation(anna, 1, "last")


def test_write_metrics_weights_other_than_recorded_are_refused(anna):
    setup = setup_from_run(anna, CPU)
    shutil.copy("runs/anna/fold1/weights.pt", "runs/anna/fold0/weights.pt")
    with pytest.raises(UserError, match=r"fold0/weights\.pt is not the file that was recorded"):
        write_metrics(setup)


def test_write_metrics_oof_keeps_the_images_of_the_training(anna):
    """Images that changed after a training do not become those that its predictions were made of."""

    def made_of() -> str:
        return read_any_predictions(Path("runs/anna/predictions/identity/oof.npz")).made_from.images

    trained_on = made_of()
    assert {anna.fold_dir(fold).read_record().images for fold in range(3)} == {trained_on}
    image = next(Path("input/tiny/train").rglob("*.jpg"))
    image.write_bytes(Path("input/tiny/test/img_0.jpg").read_bytes())
    setup = setup_from_run(anna, CPU)
    write_metrics(setup)
    assert made_of() == trained_on != setup.image_key
    fold_dir = anna.fold_dir(2)
    replace(fold_dir.read_record(), images=setup.image_key).write(fold_dir.path / "fold.json")
    write_metrics(setup)
    assert made_of() not in (trained_on, setup.image_key)  # neither is true of the whole table


def test_write_validation_of_an_equal_best_epoch_leaves_no_table_of_a_training_before(tmp_path):
    images = [Image(f"{number}.jpg", Path("x"), "a") for number in range(2)]
    last, best = np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    fold_dir = FoldDir(tmp_path)
    assert set(write_validation(fold_dir, images, 0, ("a", "b"), last, best)) == {"last.npz", "best.npz"}
    (tmp_path / "best.csv").touch()
    hashes = write_validation(fold_dir, images, 0, ("a", "b"), last, last.copy())
    assert set(hashes) == {"last.npz"} and [path.name for path in tmp_path.iterdir()] == ["last.npz"]
    stored = read_any_predictions(tmp_path / "last.npz")
    assert stored.sha256 == hashes["last.npz"] and stored.table["b"].tolist() == [0.5, 0.75]
    assert stored.table["fold"].tolist() == [0, 0]
