"""`predictions export` writes the stored tables of runs and blends as CSV, and their mean over folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from comp.prediction import csv_export
from comp.prediction.predictor import RunPredictions, predict_run
from comp.prediction_file import prediction_values, write_oof, write_predictions

CPU = torch.device("cpu")
PREDICTIONS = Path("runs/anna/predictions")


@pytest.fixture
def predictions(anna) -> RunPredictions:
    """The predictions of two views of the run `anna`; its workspace is the current directory."""
    return predict_run(anna, ["identity", "hflip"], device=CPU)


def test_predictions_export_writes_each_table_and_the_mean(predictions, run_cli, monkeypatch):
    monkeypatch.setattr(csv_export, "BLOCK_VALUES", 50)  # several blocks
    (PREDICTIONS / "identity" / "oof.csv").unlink()
    status, out, err = run_cli("comp", "predictions", "export", "anna", "--view", "identity")
    names = ["oof.csv", "test_fold0.csv", "test_fold1.csv", "test_fold2.csv", "test.csv"]
    assert (status, err) == (0, "") and out.splitlines() == [f"{PREDICTIONS}/identity/{name}" for name in names]
    tables = [pd.read_csv(line, index_col="image") for line in out.splitlines()]
    for table, stored in zip(tables, [predictions.oof[0], *(views[0] for views in predictions.test)], strict=False):
        columns = stored.columns[-8:]
        assert list(table.columns) == list(stored.columns) and list(table.index) == list(stored.index)
        assert np.array_equal(table[columns].to_numpy(np.float32), prediction_values(stored, columns))
    mean = sum(views[0].astype(float) for views in predictions.test) / 3
    assert np.allclose(tables[-1], mean.loc[tables[-1].index], rtol=0, atol=1e-8)
    assert not list((PREDICTIONS / "hflip").glob("test*.csv"))
    assert run_cli("comp", "predictions", "export", "anna")[1].count("hflip/") == 5


def test_predictions_export_writes_the_table_of_a_blend(predictions, run_cli):
    table, directory = predictions.oof[0].reset_index(), Path("runs/blends/both")
    write_oof(directory / "oof.npz", table, table.columns[-8:])
    (directory / "blend.json").write_text("{}")
    expected = (directory / "oof.csv").read_bytes()
    (directory / "oof.csv").unlink()
    assert run_cli("comp", "predictions", "export", "blends/both")[1] == "runs/blends/both/oof.csv\n"
    assert (directory / "oof.csv").read_bytes() == expected
    status, _, err = run_cli("comp", "predictions", "export", "blends/both", "--view", "identity")
    assert status == 2 and "blends/both is a blend, whose predictions have no views; leave --view out" in err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["ana"], "there is no run or blend ana; did you mean anna?"),
        (["bert", "--view", "rot90"], "runs/bert has no stored predictions of the view rot90; predict it: python"),
    ],
)
def test_predictions_export_without_tables_is_one_error(arguments, error, anna, run_cli):
    status, out, err = run_cli("comp", "predictions", "export", *arguments)
    assert (status, out) == (2, "") and err.startswith(f"error: {error}") and err.count("\n") == 1


def test_find_tables_accepts_the_path_of_a_run_as_a_shell_completes_it(anna):
    for name in ("anna", "runs/anna", "runs/anna/", "anna/"):
        assert csv_export.find_tables(name, "identity") == [PREDICTIONS / "identity" / "oof.npz"]


def test_export_tables_without_images_has_the_header(tmp_path):
    write_predictions(tmp_path / "oof.npz", pd.DataFrame({"image": [], "a": [], "b": []}), ("a", "b"))
    [path] = csv_export.export_tables([tmp_path / "oof.npz"])
    assert path == tmp_path / "oof.csv" and path.read_bytes() == b"image,a,b\n"


def test_export_tables_mean_joins_the_folds_by_image(tmp_path):
    for fold, images in enumerate((["x", "y"], ["y", "x"])):
        table = pd.DataFrame({"image": images, "a": np.float32([0.1, 0.4]), "b": np.float32([0.9, 0.6])})
        write_predictions(tmp_path / f"test_fold{fold}.npz", table, ("a", "b"))
    *_, mean = csv_export.export_tables(sorted(tmp_path.glob("*.npz")))
    assert mean.name == "test.csv"
    assert pd.read_csv(mean, index_col="image").loc["x"].tolist() == pytest.approx([0.25, 0.75])
