"""Records of a training and its predictions: their keys on disk, and what is read back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.errors import UserError
from comp.records.checkpoint import EpochResult, FoldCheckpoint, HistoryRow
from comp.records.metrics import RunMetrics
from comp.records.predictions import LatencyRecord, Provenance
from comp.records.weights import ModelSpec, read_weights
from comp.tables import HISTORY_COLUMNS

ROW = HistoryRow(3, 12, 0.1, 1.25, 0.75, 0.5, 2.5, 100.0, 0.5, 0.25)
FIT = {
    "model": {"w": torch.ones(3)},
    "optimizer": {"state": {0: {"step": torch.tensor(12.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "scaler": {},
    "ema": None,
    "step": 12,
    "updates": 0,
    "history": [ROW.to_dict()],
    "loss_sum": 0.5,
    "images": 8,
    "seconds": 1.5,
}
PROVENANCE = Provenance({"0": "a", "1": "b"}, "labels", "images")


def test_history_row_keys_are_the_columns_of_history_csv():
    assert list(ROW.to_dict()) == HISTORY_COLUMNS
    assert HistoryRow.from_dict(ROW.to_dict(), "history.csv") == ROW


def test_fold_checkpoint_round_trip_keeps_keys_and_bits(tmp_path):
    best = EpochResult(ROW, torch.rand(4, 2), {"w": torch.rand(3)})
    FoldCheckpoint(FIT, best, None).write(tmp_path / "resume.pt")
    content = load_checkpoint(tmp_path / "resume.pt")
    assert {"fit", "best", "last"} <= content.keys() and content["last"] is None
    assert list(content["best"]) == ["row", "probabilities", "weights"] and content["best"]["row"] == ROW.to_dict()
    read = FoldCheckpoint.read(tmp_path / "resume.pt")
    assert read.fit["step"] == 12 and read.last is None and read.best is not None and read.best.row == ROW
    assert torch.equal(read.best.probabilities, best.probabilities)


WRONG_FITS = {
    "a model that is a list": {"model": [torch.ones(3)]},
    "a model of numbers": {"model": {"w": 1.0}},
    "a model without values": {"model": {"w": torch.ones(3, device="meta")}},
    "a sparse model": {"model": {"w": torch.ones(3).to_sparse()}},
    "an optimizer that is a list": {"optimizer": []},
    "an optimizer without groups": {"optimizer": {"state": {}}},
    "an optimizer whose state is text": {"optimizer": {"state": {0: "x"}, "param_groups": []}},
    "an optimizer without parameters": {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "a scaler of text": {"scaler": {"scale": "large"}},
    "an average that is a list": {"ema": [1]},
    "a step that is text": {"step": "12"},
    "a negative step": {"step": -1},
    "a fractional step": {"step": 12.5},
    "images that are true": {"images": True},
    "a loss that is text": {"loss_sum": "low"},
    "a history that is a map": {"history": {}},
    "a history of numbers": {"history": [1]},
    "a history without losses": {"history": [{"epoch": 1}]},
    "a history of other columns": {"history": [{"val_loss": 0.5}]},
    "a history of tensors": {"history": [{**ROW.to_dict(), "epoch": torch.tensor(1)}]},
}


@pytest.mark.parametrize("fault", WRONG_FITS)
def test_fold_checkpoint_wrong_value_is_one_error_with_advice(fault, tmp_path):
    path = tmp_path / "resume.pt"
    FoldCheckpoint({**FIT, **WRONG_FITS[fault]}, None, None).write(path)
    with pytest.raises(UserError, match=r"resume\.pt.*; restore it, or delete it and train the fold again") as caught:
        FoldCheckpoint.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", FIT)
def test_fold_checkpoint_missing_value_is_named(key, tmp_path):
    FoldCheckpoint({name: value for name, value in FIT.items() if name != key}, None, None).write(tmp_path / "r.pt")
    with pytest.raises(UserError, match=rf"r\.pt has no `{key}`"):
        FoldCheckpoint.read(tmp_path / "r.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"row": [1]},
        {"row": {}},
        {"row": {**ROW.to_dict(), "val_score": None}},
        {"probabilities": [0.5]},
        {"probabilities": torch.ones(3)},
        {"probabilities": torch.ones(3, 2, dtype=torch.int64)},
        {"weights": [torch.ones(3)]},
        {"weights": {1: torch.ones(3)}},
    ],
)
def test_epoch_result_wrong_value_is_a_user_error(change, tmp_path):
    content = {**EpochResult(ROW, torch.rand(4, 2), {"w": torch.rand(3)}).to_dict(), **change}
    with pytest.raises(UserError, match=r"resume\.pt.*train the fold again"):
        EpochResult.from_dict(content, tmp_path / "resume.pt")


SPEC = ModelSpec("test_efficientnet", {}, ("a", "b"), (0.5,) * 3, (0.2,) * 3, 24, "squash", None, "fp32")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": None},
        {"recipe": []},
        {"recipe": {"name": "x"}},
        {"run": 1},
        {"fold": 0.5},
        {"fold": -1},
        {"fold": [0]},
        {"epoch": "last"},
        {"state_dict": [torch.ones(3)]},
        {"state_dict": {"w": None}},
    ],
)
def test_weights_file_wrong_value_is_a_user_error(change, tmp_path):
    path = tmp_path / "weights.pt"
    content = {"recipe": SPEC.to_dict(), "run": "x", "fold": 0, "epoch": 2, "state_dict": {"w": torch.ones(3)}}
    save_checkpoint(path, content)
    assert read_weights(path, None).file.spec == SPEC
    save_checkpoint(path, {**content, **change})
    with pytest.raises(UserError, match=r"weights\.pt.*train the fold again"):
        read_weights(path, None)


def test_provenance_runtime_is_written_only_if_it_is_not_torch():
    assert PROVENANCE.to_dict() == {"weights": {"0": "a", "1": "b"}, "labels": "labels", "images": "images"}
    assert list(replace(PROVENANCE, runtime="onnx").to_dict()) == ["weights", "labels", "images", "runtime"]


def test_provenance_difference_names_all_but_weights():
    assert PROVENANCE.for_folds([1]).weights == {"1": "b"} and PROVENANCE.for_folds([1]).difference(PROVENANCE) == ""
    for change, words in (
        ({"labels": None}, "other labels"),
        ({"images": "others"}, "other images"),
        ({"runtime": "onnx", "images": ""}, "other images and another runtime"),
    ):
        assert replace(PROVENANCE, **change).difference(PROVENANCE) == words


def test_provenance_sha256_is_written_and_not_compared():
    stored = replace(PROVENANCE, sha256="c")
    assert stored == PROVENANCE and stored.to_dict() == {**PROVENANCE.to_dict(), "sha256": "c"}
    assert Provenance.from_dict(stored.to_dict(), "oof.from.json").sha256 == "c"


def test_latency_record_file_is_milliseconds_by_machine():
    assert LatencyRecord({"a cpu, 2 threads": 1.5}).to_dict() == {"a cpu, 2 threads": 1.5}
    assert LatencyRecord.from_dict({"a cpu, 2 threads": 2}, "cost.json").milliseconds == {"a cpu, 2 threads": 2.0}
    with pytest.raises(UserError, match=r"cost.json.*delete it to measure again"):
        LatencyRecord.from_dict({"a cpu, 2 threads": "fast"}, "cost.json")
    for impossible in (-1, 0, float("inf"), float("nan"), 1e7):
        with pytest.raises(UserError, match=r"cannot be a time per image; delete it to measure again"):
            LatencyRecord.from_dict({"a cpu, 2 threads": impossible}, "cost.json")


def test_run_metrics_without_a_finished_fold_has_no_scores():
    metrics = RunMetrics("x", "accuracy", "last", (), complete=False)
    assert list(metrics.to_dict()) == ["run", "metric", "kept", "folds_done", "complete"]
    assert RunMetrics.from_dict(metrics.to_dict(), "metrics.json") == metrics
    with pytest.raises(UserError, match=r"scores\.sd: field required"):
        RunMetrics.from_dict({**metrics.to_dict(), "folds_done": [0], "mean": 0.5}, "metrics.json")


def test_provenance_recognises_the_image_key_of_older_versions():
    current = replace(PROVENANCE, images="new", old_images="old")
    assert current.recognise(replace(PROVENANCE, images="old")) == replace(PROVENANCE, images="new")
    assert current.recognise(replace(PROVENANCE, images="other")).images == "other"
    assert "old_images" not in current.to_dict()
