"""Provenance names the inputs: OOF predictions also depend on the labels, test predictions do not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from types import SimpleNamespace

from comp.data.scan import Dataset, Image, scan
from comp.files import file_sha256
from comp.prediction.provenance import build_provenance, input_hashes, validation_provenance
from comp.tasks import single_label


def test_build_provenance_has_the_labels_of_oof_predictions_and_other_images_for_test(tiny_dataset):
    dataset = scan(tiny_dataset)
    run = SimpleNamespace(config=SimpleNamespace(data=SimpleNamespace(size=24, fit="squash", crop=None)))
    oof, test = (build_provenance(run, dataset, kind, {"0": "w"}, "onnx") for kind in ("oof", "test"))
    assert oof.labels == dataset.image_list_sha256 and test.labels is None
    assert oof.images != test.images and oof.weights == test.weights == {"0": "w"} and oof.runtime == "onnx"


def test_input_hashes_are_of_ids_and_contents_in_any_order(tmp_path):
    """The time of a file and its directory mean nothing on another machine."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    images = tuple(Image(f"{name}.png", tmp_path / f"{name}.png") for name in "ab")
    dataset = Dataset(tmp_path, single_label(("x", "y")), (0, 1), (), images, "name")
    hashes = input_hashes(dataset)
    content = "".join(f"{name}.png\t{hashlib.sha256(name.encode()).hexdigest()}\n" for name in "ab")
    assert hashes.test_sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert hashes.train_list_sha256 == dataset.image_list_sha256 and hashes.sample_sha256 is None
    os.utime(tmp_path / "a.png", (1, 1))
    assert input_hashes(replace(dataset, test=images[::-1])) == hashes
    (tmp_path / "sample_submission.csv").write_text("id,label\na,x\n")
    assert input_hashes(dataset).sample_sha256 == file_sha256(tmp_path / "sample_submission.csv")
    (tmp_path / "b.png").write_bytes(b"c")
    assert input_hashes(dataset).test_sha256 != hashes.test_sha256


def test_validation_provenance_has_the_images_of_the_training_or_else_those_of_now(tiny_dataset, monkeypatch):
    dataset = scan(tiny_dataset)
    recorded: dict[int, object] = {}
    run = SimpleNamespace(
        config=SimpleNamespace(data=SimpleNamespace(size=24, fit="squash", crop=None)),
        weights_sha256=lambda fold: f"w{fold}",
        fold_dir=lambda fold: SimpleNamespace(read_record=lambda: recorded.get(fold)),
    )
    now = build_provenance(run, dataset, "oof", {"0": "w0", "1": "w1"})
    assert validation_provenance(run, dataset, [0, 1]) == now
    recorded[0] = SimpleNamespace(images=None)
    assert validation_provenance(run, dataset, [0, 1]) == now
    recorded |= {0: SimpleNamespace(images="then"), 1: SimpleNamespace(images="then")}
    assert validation_provenance(run, dataset, [0, 1]) == replace(now, images="then")
    recorded[1] = SimpleNamespace(images="later")
    assert validation_provenance(run, dataset, [0, 1]).images == "later then"
