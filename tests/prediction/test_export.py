"""An exported model is written only if it agrees with torch, and is exported again when it is stale."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from comp.batches.loader import EvaluationSet
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import scan
from comp.engine.export import export_graph
from comp.engine.runtime import RUNTIME_LOADERS
from comp.engine.views import TTA
from comp.errors import UserError
from comp.files import read_json
from comp.prediction import export
from comp.prediction.export import RUNTIME_FILES, export_fold, read_graph_files, stale_reason
from comp.prediction.load import LoadedModel
from comp.prediction_file import read_any_predictions
from comp.records.export import ExportRecord
from comp.runs import FoldDir
from tests.conftest import SMALL
from tests.engine.test_export import RUNTIMES, NegatesUnlessTwo, TakesTwo, make_images, make_spec, make_trained_model


@pytest.fixture
def fold_dir(tmp_path) -> FoldDir:
    """A fold's directory without files."""
    fold_dir = FoldDir(tmp_path / "fold0")
    fold_dir.path.mkdir()
    return fold_dir


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", [NegatesUnlessTwo(), TakesTwo()])
def test_export_fold_graph_of_a_fixed_batch_size_is_refused(model, runtime, fold_dir):
    with pytest.raises(UserError, match=r"use --runtime torch"):
        export_fold(fold_dir, runtime, LoadedModel(model, make_spec("odd", 8), "a"), make_images(8, 34))
    assert not list(fold_dir.path.iterdir())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_export_fold_wrong_weight_is_refused_and_nothing_is_written(runtime, fold_dir, monkeypatch):
    model = make_trained_model("karakus_skip_cnn", 32)
    wrong = make_trained_model("karakus_skip_cnn", 32)
    with torch.no_grad():
        next(wrong.parameters())[0, 0, 0, 0] += 0.1
    monkeypatch.setattr(export, "export_graph", lambda _, __, spec: export_graph(runtime, wrong, spec))
    with pytest.raises(UserError, match=r"disagree: logits differ by at most .* is allowed, so nothing was written"):
        export_fold(fold_dir, runtime, LoadedModel(model, make_spec("karakus_skip_cnn", 32), "a"), make_images(32))
    assert not list(fold_dir.path.iterdir())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_stale_reason_missing_old_or_changed_files(runtime, fold_dir):
    loaded = LoadedModel(make_trained_model("test_efficientnet", 24), make_spec("test_efficientnet", 24), "a")

    def reason(weights_sha256: str = "a") -> str:
        return stale_reason(fold_dir, runtime, weights_sha256, read_graph_files(fold_dir, runtime))

    def export_again():
        export_fold(fold_dir, runtime, loaded, make_images(24))
        assert reason() == ""

    assert reason() == "not exported yet"
    export_again()
    record = ExportRecord.read(fold_dir.path / f"model.{runtime}.json")
    assert (record.size, record.classes, record.parity.agreeing) == (24, tuple("abcdefgh"), 35)
    assert record.weights_sha256 == "a"
    network = RUNTIME_LOADERS[runtime](*read_graph_files(fold_dir, runtime).values())
    assert network(make_images(24, 3)).shape == (3, 8)
    assert reason("b") == "exported from other weights"
    for name in RUNTIME_FILES[runtime]:
        file = fold_dir.path / name
        file.write_bytes(file.read_bytes()[:-1])
        assert reason() == "not as it was written"
        file.unlink()
        assert reason() == "not as it was written"
        export_again()


def test_sample_images_are_spread_over_all_classes(workspace, monkeypatch):
    monkeypatch.setattr(export, "PARITY_IMAGES", 8)
    dataset, spec = scan("input/tiny"), make_spec("test_efficientnet", 24)
    sample = export.sample_images(dataset, spec)
    cache = load_cache("tiny", dataset.train, make_square_spec(dataset.train, 24, spec.fit, spec.crop))
    images = EvaluationSet(cache, np.arange(48), 24, 48)[0]
    rows = [next(row for row in range(48) if torch.equal(image, images[row])) for image in sample]
    assert {dataset.train[row].label for row in rows} == set(dataset.classes)


def test_infer_labels_are_equal_in_every_runtime(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", *SMALL)
    assert run_cli("infer.py", "x", "--tta", "flips")[0] == 0
    labels = pd.read_csv("submissions/x+flips.csv")
    predictions = Path("runs/x/predictions")
    torch_files = {file: file.stat().st_mtime_ns for file in predictions.rglob("*.npz")}
    assert run_cli("comp", "export", "x", "--to", "onnx")[1].count("argmax agrees on 48 of 48 images") == 3

    for runtime, is_exported in (("onnx", True), ("openvino", False)):
        status, out, err = run_cli("infer.py", "x", "--tta", "flips", "--runtime", runtime)
        assert (status, err) == (0, "") and f"runtime: {runtime}" in out
        assert out.count("not exported yet, so it is exported now") == (0 if is_exported else 3)
        assert pd.read_csv("submissions/x+flips.csv").equals(labels)
        assert read_json(Path("submissions/x+flips.json"))["members"][0]["runtime"] == runtime
        for view in TTA["flips"]:
            for name in ("oof.npz", "test_fold0.npz"):
                stored = read_any_predictions(predictions / runtime / view / name)
                from_torch, from_runtime = (
                    table.select_dtypes("number")
                    for table in (read_any_predictions(predictions / view / name).table, stored.table)
                )
                assert np.abs(from_torch - from_runtime.loc[from_torch.index]).max(axis=None) < 1e-6
                assert stored.made_from.runtime == runtime
    assert torch_files == {file: file.stat().st_mtime_ns for file in torch_files}  # unchanged
    run_cli("infer.py", "x", "--tta", "flips")
    assert torch_files == {file: file.stat().st_mtime_ns for file in torch_files}  # and used again

    def fails(expected: str, *arguments: str) -> None:
        status, _, err = run_cli(*arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err

    fails("--to", "comp", "export", "x")
    fails("has no finished fold full", "comp", "export", "x", "--to", "onnx", "--fold", "full")
    fails("there is no run y", "comp", "export", "y", "--to", "onnx")
    fails("computes on the CPU", "infer.py", "x", "--runtime", "onnx", "--device", "cuda")
    for package, runtime in (("onnxruntime", "onnx"), ("onnx", "onnx"), ("openvino", "openvino")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            fails("pip install -e '.[export]'", "comp", "export", "x", "--to", runtime)


@pytest.mark.parametrize(("images", "rows"), [(10, 10), (64, 64), (3200, 64)])
def test_sample_images_are_64_from_the_first_to_the_last(monkeypatch, images, rows):
    monkeypatch.setattr(export, "make_square_spec", lambda *_: None)
    monkeypatch.setattr(export, "load_cache", lambda *_: None)
    monkeypatch.setattr(export, "EvaluationSet", lambda cache, rows, size, batch_size: [(rows.tolist(), batch_size)])
    dataset = SimpleNamespace(name="x", train=range(images))
    chosen, batch_size = export.sample_images(dataset, make_spec("test_efficientnet", 24))
    assert len(set(chosen)) == len(chosen) == batch_size == rows and (chosen[0], chosen[-1]) == (0, images - 1)
    assert set(np.diff(chosen)) <= {images // rows, images // rows + 1}


@pytest.mark.parametrize("runtime", export.RUNTIME_FILES)
def test_precision_of_a_runtime_is_in_its_name(runtime):
    assert export.precision_of(runtime) == ("bf16" if "bf16" in runtime else "fp32")
