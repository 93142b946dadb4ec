"""Records of a training and its predictions: their keys on disk, and what is read back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from comp.checkpoints import load_checkpoint
from comp.errors import UserError
from comp.records.checkpoint import EpochResult, FoldCheckpoint, HistoryRow
from comp.records.metrics import RunMetrics
from comp.records.predictions import LatencyRecord, Provenance
from comp.tables import HISTORY_COLUMNS

ROW = HistoryRow(3, 12, 0.1, 1.25, None, None, 2.5, 100.0, 0.5, 0.25)
PROVENANCE = Provenance({"0": "a", "1": "b"}, "labels", "images")


def test_history_row_keys_are_the_columns_of_history_csv():
    assert list(ROW.to_dict()) == HISTORY_COLUMNS
    assert HistoryRow.from_dict(ROW.to_dict(), "history.csv") == ROW


def test_fold_checkpoint_round_trip_keeps_keys_and_bits(tmp_path):
    best = EpochResult(ROW, torch.rand(4, 2), {"w": torch.rand(3)})
    FoldCheckpoint({"step": 12}, best, None).write(tmp_path / "resume.pt")
    content = load_checkpoint(tmp_path / "resume.pt")
    assert {"fit", "best", "last"} <= content.keys() and content["last"] is None
    assert list(content["best"]) == ["row", "probabilities", "weights"] and content["best"]["row"] == ROW.to_dict()
    read = FoldCheckpoint.read(tmp_path / "resume.pt")
    assert read.fit == {"step": 12} and read.last is None and read.best is not None and read.best.row == ROW
    assert torch.equal(read.best.probabilities, best.probabilities)


def test_provenance_runtime_is_written_only_if_it_is_not_torch():
    assert PROVENANCE.to_dict() == {"weights": {"0": "a", "1": "b"}, "labels": "labels", "images": "images"}
    assert list(replace(PROVENANCE, runtime="onnx").to_dict()) == ["weights", "labels", "images", "runtime"]


def test_provenance_matches_ignores_only_weights():
    assert PROVENANCE.for_folds([1]).weights == {"1": "b"} and PROVENANCE.for_folds([1]).matches(PROVENANCE)
    for change in ({"labels": None}, {"images": "others"}, {"runtime": "onnx"}):
        assert not replace(PROVENANCE, **change).matches(PROVENANCE)


def test_latency_record_file_is_milliseconds_by_machine():
    assert LatencyRecord({"a cpu, 2 threads": 1.5}).to_dict() == {"a cpu, 2 threads": 1.5}
    assert LatencyRecord.from_dict({"a cpu, 2 threads": 2}, "cost.json").milliseconds == {"a cpu, 2 threads": 2.0}
    with pytest.raises(UserError, match=r"cost.json.*delete it to measure again"):
        LatencyRecord.from_dict({"a cpu, 2 threads": "fast"}, "cost.json")


def test_run_metrics_without_a_finished_fold_has_no_scores():
    metrics = RunMetrics("x", "accuracy", "last", (), complete=False)
    assert list(metrics.to_dict()) == ["run", "metric", "kept", "folds_done", "complete"]
    assert RunMetrics.from_dict(metrics.to_dict(), "metrics.json") == metrics
    with pytest.raises(UserError, match=r"scores\.sd: field required"):
        RunMetrics.from_dict({**metrics.to_dict(), "folds_done": [0], "mean": 0.5}, "metrics.json")
