"""Predictions of a run are stored in files; each is recomputed only if its inputs changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from comp import runs
from comp.files import read_json, write_json
from comp.prediction import predictor
from comp.prediction.predictor import RunPredictions, open_predictor, predict_run
from comp.runs import Run
from comp.tables import read_predictions
from tests.conftest import SMALL

CPU = torch.device("cpu")
PREDICTIONS = Path("runs/x/predictions")


@pytest.fixture
def passes(monkeypatch) -> list[tuple[int, tuple[str, ...]]]:
    """Every pass over images: (number of networks, views)."""
    passes, predict_images = [], predictor.predict_images

    def record_pass(networks, squares, rows, views, options):
        passes.append((len(networks), tuple(views)))
        return predict_images(networks, squares, rows, views, options)

    monkeypatch.setattr(predictor, "predict_images", record_pass)
    return passes


def train_x(run_cli, *folds: str) -> Run:
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", *folds, *SMALL)
    [run] = runs.find_runs(["x"])
    return run


def probability_bytes(predictions: RunPredictions, classes: tuple[str, ...]) -> list[bytes]:
    tables = [*predictions.oof, *(table for fold_tables in predictions.test for table in fold_tables)]
    return [table[list(classes)].to_numpy().tobytes() for table in tables]


def test_predict_run_second_call_predicts_only_what_is_missing(workspace, run_cli, passes):
    x = train_x(run_cli, "--fold", "0,1")
    latency = open_predictor(x, device=CPU).latency_ms()
    first = predict_run(x, ["identity", "hflip"], device=CPU)
    # training wrote the OOF of the identity view; so that of the other view, fold by fold, and then the test images
    assert passes == [(1, ("hflip",))] * 2 + [(2, ("identity", "hflip"))]

    again = predict_run(x, ["identity", "hflip"], device=CPU)
    assert len(passes) == 3 and probability_bytes(again, x.classes) == probability_bytes(first, x.classes)
    assert open_predictor(x, device=CPU).latency_ms() == latency
    assert first.test[0][0][x.classes[0]].dtype == np.float32

    run_cli("train.py", "--name", "x", "--fold", "2", *SMALL)
    passes.clear()
    third = predict_run(x, ["hflip"], device=CPU)
    assert passes == [(1, ("hflip",))] * 2  # its own held-out images, and the test images by it alone
    assert third.folds == [0, 1, 2] and len(third.test) == 3
    assert probability_bytes(predict_run(x, ["hflip"], device=CPU, only=[0, 1]), x.classes) == [
        table[list(x.classes)].to_numpy().tobytes() for table in [first.oof[1], first.test[0][1], first.test[1][1]]
    ]
    folds = [read_predictions(PREDICTIONS / "hflip" / f"test_fold{fold}.csv", x.classes) for fold in range(3)]
    mean = read_predictions(PREDICTIONS / "hflip" / "test.csv", x.classes)
    assert np.allclose(mean, sum(folds) / 3, atol=1e-8) and len(third.oof[0]) == 48

    passes.clear()
    predict_run(x, ["identity", "vflip"], device=CPU)  # on the test images fold 2 lacks both, the others one
    assert passes == [(1, ("vflip",))] * 3 + [(2, ("vflip",)), (1, ("identity", "vflip"))]


def test_latency_ms_is_measured_once_and_again_when_cost_json_is_corrupt(workspace, run_cli):
    x = train_x(run_cli, "--fold", "0")
    latency = open_predictor(x, device=CPU).latency_ms()
    [(machine, stored)] = read_json(PREDICTIONS / "cost.json").items()
    assert latency == stored > 0 and open_predictor(x, device=CPU).latency_ms() == latency
    write_json(PREDICTIONS / "cost.json", {machine: 7})
    assert open_predictor(x, device=CPU).latency_ms() == 7
    for corrupt in ([], {machine: "fast"}):
        write_json(PREDICTIONS / "cost.json", corrupt)
        assert open_predictor(x, device=CPU).latency_ms() > 0
        assert isinstance(read_json(PREDICTIONS / "cost.json")[machine], float)


def test_predict_run_folds_together_equal_each_fold_alone(workspace, run_cli):
    """A prediction must not depend on the set of folds that were finished when it was computed."""
    x = train_x(run_cli)
    together = predict_run(x, ["identity", "rot90"], device=CPU).test
    for file in PREDICTIONS.rglob("*.from.json"):
        file.unlink()
    for fold in (2, 0, 1):
        alone = predict_run(x, ["rot90"], device=CPU, only=[fold]).test[0][0]
        assert alone.equals(together[fold][1])


def test_predict_run_full_model_has_one_file_per_view(workspace, run_cli):
    x = train_x(run_cli, "--fold", "full")
    predictions = predict_run(x, ["identity"], device=CPU, full=True)
    assert predictions.folds == ["full"] and predictions.oof == [] and len(predictions.test) == 1
    files = [file.relative_to(PREDICTIONS).as_posix() for file in PREDICTIONS.rglob("*.csv")]
    assert files == ["full/identity/test.csv"]
