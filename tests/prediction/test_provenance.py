"""Provenance names the inputs: OOF predictions also depend on the labels, test predictions do not."""

from __future__ import annotations

from types import SimpleNamespace

from comp.data.scan import scan
from comp.prediction.provenance import build_provenance


def test_build_provenance_has_the_labels_of_oof_predictions_and_other_images_for_test(tiny_dataset):
    dataset = scan(tiny_dataset)
    run = SimpleNamespace(config=SimpleNamespace(data=SimpleNamespace(size=24, fit="squash", crop=None)))
    oof, test = (build_provenance(run, dataset, kind, {"0": "w"}, "onnx") for kind in ("oof", "test"))
    assert oof.labels == dataset.image_list_sha256 and test.labels is None
    assert oof.images != test.images and oof.weights == test.weights == {"0": "w"} and oof.runtime == "onnx"
