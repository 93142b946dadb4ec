"""Trials of a study are told from other runs by the journal above them, on any machine."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from comp.records.metrics import RunMetrics
from comp.records.study import StudyRecord, TrialRecord
from comp.runs import RUNS, Run
from comp.track.identity import fold_identity, summary_identity
from comp.track.summary import read_metrics, track_summary
from tests.track.five_folds import write_five_folds


@pytest.fixture
def run(tiny_dataset, tmp_path, monkeypatch) -> Run:
    """A run of which two folds are done."""
    shutil.copytree(tiny_dataset, tmp_path / "input" / "tiny")
    monkeypatch.chdir(tmp_path)
    run = write_five_folds("search/trial_0007", Path("input/tiny"))
    metrics = RunMetrics.read(run.path / "metrics.json")
    replace(metrics, folds_done=(0, 1), complete=False).write(run.path / "metrics.json")
    return run


def test_trial_has_the_job_type_tune_and_a_summary_of_the_folds_that_it_trained(run):
    assert read_metrics(run) is None and fold_identity(run, 0).job_type == "train"
    (RUNS / "search" / "journal.log").touch()
    metrics = read_metrics(run)
    assert {fold_identity(run, 0).job_type, summary_identity(run).job_type} == {"tune"}
    summary = track_summary(run, metrics, None)
    assert summary.summary["folds_done"] == 2 and summary.identity.group == "search"


def test_trial_has_the_values_of_the_study_as_flat_config(run):
    values = {"optim.lr": 0.5, "recipe": "mixed"}
    trial = TrialRecord(7, "running", values)
    StudyRecord("search", ("accuracy",), (True,), "0..1", None, (trial,)).write(RUNS / "search" / "study.json")
    config = track_summary(run, read_metrics(run), None).config
    assert (config["trial"], config["study/optim.lr"], config["study/recipe"]) == (7, 0.5, "mixed")
    assert fold_identity(run, 0).group == "search"


def test_summary_of_numbers_has_no_tables_and_no_confusion(run):
    metrics = RunMetrics.read(run.path / "metrics.json")
    scores = replace(metrics.scores, report=None)  # as where no image has one class
    summary = track_summary(run, replace(metrics, scores=scores), None)
    assert not summary.tables and summary.confusion is None and "accuracy" not in summary.summary
    assert summary.summary["oof"] == scores.oof.kept.score


def test_mistakes_without_the_images_have_no_pictures(run):
    metrics = RunMetrics.read(run.path / "metrics.json")
    table = track_summary(run, metrics, None).tables["mistakes"]
    assert len(table.rows) == 10 and {row[0] for row in table.rows} == {None}
