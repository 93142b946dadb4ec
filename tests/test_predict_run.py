"""A run's predictions are files: each is made once, and again only where what it was made from changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp import runs
from comp.files import read_json, write_json
from comp.prediction import predictor
from comp.prediction.predictor import open_predictor, predict_run
from comp.tables import read_predictions
from tests.conftest import SMALL

HERE = Path("runs/x/predictions")


@pytest.fixture
def asked(monkeypatch):
    """Every pass over images: (number of networks, views)."""
    passes, whole = [], predictor.predict_images

    def counted(networks, pixels, rows, views, **words):
        passes.append((len(networks), tuple(views)))
        return whole(networks, pixels, rows, views, **words)

    monkeypatch.setattr(predictor, "predict_images", counted)
    return passes


def test_only_what_is_missing_is_predicted(workspace, run_cli, asked):
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", "--fold", "0,1", *SMALL)
    [x] = runs.find_runs(["x"])
    cost = open_predictor(x).cost()
    first = predict_run(x, ["identity", "hflip"])
    # training wrote the OOF of the upright view; so the other's, a fold each, and then the test images
    assert asked == [(1, ("hflip",))] * 2 + [(2, ("identity", "hflip"))]
    assert cost > 0 and list(read_json(HERE / "cost.json").values()) == [cost]

    for spoilt in ([], {machine: "fast" for machine in read_json(HERE / "cost.json")}):
        write_json(HERE / "cost.json", spoilt)
        assert open_predictor(x).cost() > 0
    write_json(HERE / "cost.json", {machine: cost for machine in read_json(HERE / "cost.json")})

    def bits(made):
        tables = [*made.oof, *(table for each in made.test for table in each)]
        return [table[list(x.classes)].to_numpy().tobytes() for table in tables]

    again = predict_run(x, ["identity", "hflip"])
    assert len(asked) == 3 and open_predictor(x).cost() == cost and bits(again) == bits(first)  # read is what was made
    assert first.test[0][0][x.classes[0]].dtype == np.float32

    run_cli("train.py", "--name", "x", "--fold", "2", *SMALL)
    asked.clear()
    third = predict_run(x, ["hflip"])
    assert asked == [(1, ("hflip",))] * 2  # its own held-out images, and the test images by it alone
    assert third.folds == [0, 1, 2] and len(third.test) == 3
    assert bits(predict_run(x, ["hflip"], only=[0, 1])) == [
        table[list(x.classes)].to_numpy().tobytes() for table in [first.oof[1], first.test[0][1], first.test[1][1]]
    ]
    folds = [read_predictions(HERE / "hflip" / f"test_fold{fold}.csv", x.classes) for fold in range(3)]
    mean = read_predictions(HERE / "hflip" / "test.csv", x.classes)
    assert np.allclose(mean, sum(folds) / 3, atol=1e-8) and len(third.oof[0]) == 48

    asked.clear()
    predict_run(x, ["identity", "vflip"])  # on the test images fold 2 lacks both, the others one
    assert asked == [(1, ("vflip",))] * 3 + [(2, ("vflip",)), (1, ("identity", "vflip"))]


def test_folds_together_say_what_each_says_alone(workspace, run_cli):
    """Else a prediction would depend on which folds were there when it was made."""
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", *SMALL)
    [x] = runs.find_runs(["x"])
    together = predict_run(x, ["identity", "rot90"]).test
    for file in HERE.rglob("*.from.json"):
        file.unlink()
    for fold in (2, 0, 1):
        alone = predict_run(x, ["rot90"], only=[fold]).test[0][0]
        assert alone.equals(together[fold][1])


def test_the_model_of_all_images_has_one_file_per_view(workspace, run_cli):
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", "--fold", "full", *SMALL)
    [x] = runs.find_runs(["x"])
    made = predict_run(x, ["identity"], full=True)
    assert made.folds == ["full"] and made.oof == [] and len(made.test) == 1
    assert [file.relative_to(HERE).as_posix() for file in HERE.rglob("*.csv")] == ["full/identity/test.csv"]
