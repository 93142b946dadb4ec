"""Features and heat maps of a run are those of the right model, stored, and made again when they must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.data.folds import read_folds
from comp.engine.explain import find_spatial_layer, heat_maps
from comp.prediction import explanations
from comp.prediction.explanations import Explainer
from comp.prediction.load import load_model
from comp.prediction.validation import read_validation

CPU = torch.device("cpu")


def no_computation(*_):
    raise AssertionError("computed again")


def test_oof_features_are_of_the_model_that_has_not_seen_the_image(anna):
    oof = Explainer.open(anna, CPU).oof_features()
    assert len(oof.images) == 48 and oof.features.shape[0] == 48 and oof.outputs.shape == (48, 8)
    for fold in range(3):
        stored = read_validation(anna, fold, "last")
        rows = np.flatnonzero(oof.folds == fold)
        assert {oof.images[row] for row in rows} == set(stored.index)
        expected = stored.loc[[oof.images[row] for row in rows], list(anna.classes)].to_numpy()
        predictions = anna.task.activate(torch.from_numpy(oof.outputs[rows])).numpy()
        np.testing.assert_allclose(predictions, expected, atol=1e-4)


def test_features_are_stored_and_made_again_for_other_weights(anna, monkeypatch, capsys):
    first = Explainer.open(anna, CPU).test_features(1)
    assert (anna.path / "features" / "test_fold1.npz").is_file() and len(first.images) == 8
    with monkeypatch.context() as patch:
        patch.setattr(explanations, "compute_features", no_computation)
        again = Explainer.open(anna, CPU).test_features(1)
        assert np.array_equal(again.features, first.features) and again.images == first.images
    path = anna.path / "features" / "test_fold0.npz"
    path.write_bytes((anna.path / "features" / "test_fold1.npz").read_bytes())  # of another model
    other = Explainer.open(anna, CPU).test_features(0)
    assert "made from other weights or images, so it is made again" in capsys.readouterr().out
    assert not np.allclose(other.features, first.features)


def test_train_features_of_one_model_differ_from_oof_in_the_other_folds_alone(anna):
    explainer = Explainer.open(anna, CPU)
    train, oof = explainer.train_features(0), explainer.oof_features()
    rows = [train.images.index(image) for image in oof.images]
    same = np.isclose(train.features[rows], oof.features, atol=1e-4).all(1)
    assert same[oof.folds == 0].all() and not same[oof.folds != 0].any()


def test_heat_maps_are_of_the_fold_model_and_the_column_and_stored(anna, monkeypatch):
    explainer = Explainer.open(anna, CPU)
    split = read_folds(anna.config.folds_file, explainer.dataset).set_index("image")["fold"]
    image, other = (next(id for id, fold in split.items() if fold == wanted) for wanted in (2, 0))
    keys = [(image, anna.classes[3]), (other, anna.classes[0]), (image, anna.classes[5])]
    maps = explainer.heat_maps(keys)
    assert maps.shape[0] == 3 and maps.shape[1] == maps.shape[2] > 1 and maps.max() <= 1
    loaded = load_model(anna.read_weights(2), CPU)
    row = [item.id for item in explainer.dataset.train].index(image)
    [batch] = explainer._batches(loaded, explainer.dataset.train, np.array([row]), 1, "")
    expected = heat_maps(loaded.model, find_spatial_layer(loaded.model, batch), batch, torch.tensor([3]))
    np.testing.assert_allclose(maps[0], expected[0].numpy(), atol=1e-5)
    monkeypatch.setattr(explanations, "heat_maps", no_computation)
    assert np.array_equal(Explainer.open(anna, CPU).heat_maps(keys[::-1]), maps[::-1])
    with pytest.raises(AssertionError, match="computed again"):
        explainer.heat_maps([(image, anna.classes[4])])
