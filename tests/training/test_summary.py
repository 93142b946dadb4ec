"""The scores of a run and its last line, computed by hand from tables of predictions."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from comp.prediction_file import read_any_predictions
from comp.records.metrics import RunMetrics
from comp.records.predictions import Provenance
from comp.tasks import single_label
from comp.training import summary
from comp.training.summary import summary_line, write_metrics

CLASSES = ("a", "b")


def oof_table(correct: list[bool], folds: list[int]) -> pd.DataFrame:
    """Return predictions of images of class a, 0.8 confident where correct, else 0.7 confident in b."""
    confidence = np.where(correct, 0.8, 0.3)
    return pd.DataFrame(
        {"label": "a", "fold": folds, "a": confidence, "b": 1 - confidence},
        index=pd.Index([f"{number}.png" for number in range(len(folds))], name="image"),
    )


def make_run(keep: str, metric: str = "accuracy", **record) -> SimpleNamespace:
    return SimpleNamespace(
        name="x",
        classes=CLASSES,
        task=single_label(CLASSES),
        config=SimpleNamespace(train=SimpleNamespace(keep=keep)),
        record=SimpleNamespace(metric=metric, higher_is_better=metric != "log_loss", split_groups=0, **record),
    )


BEST = oof_table([True, True, True, False, True, True], [0, 0, 0, 0, 1, 1])  # 3/4 and 2/2: 5/6 in all
LAST = oof_table([True, False, False, False, True, True], [0, 0, 0, 0, 1, 1])  # 1/4 and 2/2: 3/6 in all


@pytest.mark.parametrize(("keep", "mean", "pooled"), [("best", 0.875, 5 / 6), ("last", 0.625, 0.5)])
def test_scores_are_those_of_the_kept_epoch_and_best_minus_last_is_a_gain(keep, mean, pooled):
    scores = summary._score_run(make_run(keep), {"best": BEST, "last": LAST})
    assert scores.per_fold == {"best": (0.75, 1.0), "last": (0.25, 1.0)}
    assert scores.mean == mean and scores.sd == pytest.approx((1 - scores.per_fold[keep][0]) / np.sqrt(2))
    assert scores.oof.kept.score == scores.report.accuracy == pytest.approx(pooled)
    assert scores.oof.kept.optimistic == (keep == "best")
    assert scores.best_minus_last == pytest.approx(5 / 6 - 0.5)
    losses = summary._score_run(make_run(keep, "log_loss"), {"best": BEST, "last": LAST})
    assert losses.best_minus_last == pytest.approx(losses.oof.last.score - losses.oof.best.score) and (
        losses.best_minus_last > 0
    )
    assert summary._score_run(make_run(keep), {"best": BEST[:4], "last": LAST[:4]}).sd is None


def make_metrics(keep: str, complete: bool = True) -> RunMetrics:
    scores = summary._score_run(make_run(keep), {"best": BEST, "last": LAST})
    return RunMetrics("x", "accuracy", keep, (0, 1), complete, scores)


def test_summary_line_names_what_limits_the_score_and_the_next_command():
    line = summary_line(make_metrics("last"))
    assert line.startswith("CV 0.6250 ± 0.5303, OOF 0.5000 [0.167, 0.833], baseline 1.0000 (warning: the model is no ")
    assert line.endswith("better), best-last +0.3333, next: python infer.py x")
    assert "optimistic" in summary_line(make_metrics("best"))
    assert "(folds 0,1 only)" in summary_line(make_metrics("last", complete=False))


def test_summary_line_of_a_model_of_all_images_has_no_score_even_if_the_folds_have():
    for metrics in (make_metrics("last"), replace(make_metrics("last"), folds_done=(), scores=None)):
        line = summary_line(metrics, full=True)
        assert "no CV score" in line and line.endswith("python infer.py x --fold full") and "0.6250" not in line


def test_summary_line_debug_run_has_no_score():
    assert summary_line(replace(make_metrics("last"), run="debug/x")) == "runs/debug/x works; do not use its scores"


def test_write_metrics_before_any_fold_is_done_writes_no_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "report_summary", lambda run, dataset: None)
    run = make_run("last", folds=(0, 1))
    run.path, run.lock, run.folds_done = tmp_path, contextlib.nullcontext, list
    metrics = write_metrics(SimpleNamespace(run=run, dataset=None))
    assert (metrics.folds_done, metrics.complete, metrics.scores) == ((), False, None)
    assert RunMetrics.read(tmp_path / "metrics.json") == metrics
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("done", [[0], [0, 1]])
def test_write_metrics_reports_to_wandb_what_is_on_disk(done, tmp_path, monkeypatch):
    on_disk = []
    monkeypatch.setattr(
        summary, "report_summary", lambda run, dataset: on_disk.append(RunMetrics.read(run.path / "metrics.json"))
    )
    monkeypatch.setattr(summary, "_read_tables", lambda setup, folds: {"best": BEST, "last": LAST})
    monkeypatch.setattr(summary, "validation_provenance", lambda *_: Provenance({"0": "w"}, "labels", "images"))
    run = make_run("last", folds=(0, 1))
    run.path, run.lock, run.folds_done = tmp_path, contextlib.nullcontext, lambda: done
    metrics = write_metrics(SimpleNamespace(run=run, dataset=None))
    assert metrics.complete == (len(done) == 2) and on_disk == [metrics]
    assert len(read_any_predictions(tmp_path / "predictions" / "identity" / "oof.npz").table) == 6


@pytest.mark.parametrize(("baseline", "warns"), [(0.4, False), (0.5, True), (0.6, True)])
def test_summary_line_warns_of_a_model_that_is_no_better_than_the_baseline(baseline, warns):
    metrics = make_metrics("last")  # accuracy 0.5
    line = summary_line(replace(metrics, scores=replace(metrics.scores, baseline=baseline)))
    assert f"baseline {baseline:.4f}" in line and ("no better" in line) is warns
