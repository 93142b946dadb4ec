"""The kept weights, the predictions they are scored by and the scores are of one epoch, where best and last differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from comp import config
from comp.batches.loader import EvaluationSet
from comp.data.duplicates import group_ids
from comp.data.folds import make_folds, write_folds
from comp.data.scan import scan
from comp.engine.predict import predict_models
from comp.metrics import log_losses
from comp.prediction.load import load_model
from comp.records.metrics import RunMetrics
from comp.records.weights import read_weights
from comp.runs import FoldDir, read_run
from comp.track import live
from comp.track.fold import track_fold
from comp.training.setup import open_benchmark_setup, open_debug_setup
from comp.training.summary import summary_line
from comp.training.train import run_experiment
from tests.conftest import REPO_ROOT, SMALL
from tests.predictions import read_table

CPU = torch.device("cpu")
# the learning rate rises from zero to one that destroys the weights: the last epoch is never the best
RISING = ["optim.name=sgd", "optim.lr=0.5", "optim.clip=1", "train.epochs=3", "schedule.warmup_epochs=3"]


class Recorder:
    """An observer that keeps what it receives."""

    def __init__(self):
        self.ends, self.scored = 0, {}  # scored: fold -> folds that the run has scores of while it trains

    def log_step(self, event, images):
        pass

    def log_epoch(self, fold, row):
        metrics = Path("runs/x/metrics.json")
        self.scored[fold] = RunMetrics.read(metrics).folds_done if metrics.exists() else ()

    def log_end(self):
        self.ends += 1

    def close(self):
        pass


@pytest.fixture(scope="module", params=["best", "last"])
def kept(request, tiny_dataset, tmp_path_factory):
    """A run of two folds that keeps the best epoch and stops early, or the last one; its metrics, and what observers
    received."""
    workspace, recorder = tmp_path_factory.mktemp("kept"), Recorder()
    (workspace / "input").mkdir()
    (workspace / "input" / "tiny").symlink_to(tiny_dataset)
    (workspace / "configs").symlink_to(REPO_ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        dataset = scan("input/tiny")
        write_folds(Path("folds/tiny.csv"), make_folds(dataset, group_ids(dataset.train, []), 3, 42), dataset, 3, 42)
        stop = ["train.epochs=9", "train.patience=2"] if request.param == "best" else []
        settings = [*SMALL, *RISING, *stop, f"train.keep={request.param}", "train.metric=log_loss", "train.ema=0.3"]
        [run_config] = config.load("configs/deep_efficientnet.yaml", settings, name="x")
        metrics = run_experiment(run_config, device=CPU, fold="0,2", observers=[recorder])
        yield request.param, read_run(Path("runs/x")), metrics, recorder


def validation(fold_dir: FoldDir, epoch: str, classes) -> pd.DataFrame:
    return read_table(fold_dir.path / f"{epoch}.npz", classes)


def predict(fold_dir: FoldDir, run, images: pd.Index) -> np.ndarray:
    """Predict the images of a fold with its weights.pt alone."""
    loaded = load_model(read_weights(fold_dir.weights_path, None), CPU)
    setup = open_benchmark_setup(run.config, CPU)
    row_of = {image.id: row for row, image in enumerate(setup.dataset.train)}
    rows = np.array([row_of[image] for image in images])
    batch = EvaluationSet(setup.cache, rows, run.config.data.size, len(rows))[0]
    options = {"views": ["identity"], "mean": loaded.spec.mean, "std": loaded.spec.std, "precision": "fp32"}
    return predict_models([loaded.model], [batch], device=CPU, **options)[0, 0]


def test_weights_reproduce_the_predictions_that_they_are_scored_by(kept):
    keep, run, _, _ = kept
    oof = read_table(Path("runs/x/predictions/identity/oof.npz"), run.classes)
    for fold in (0, 2):
        fold_dir = run.fold_dir(fold)
        tables = {epoch: validation(fold_dir, epoch, run.classes).sort_index() for epoch in ("best", "last")}
        scores = {epoch: log_losses(*run.task.to_arrays(table)).mean() for epoch, table in tables.items()}
        assert scores["best"] < scores["last"] - 0.1, "the last epoch must be worse in this test"
        probabilities = predict(fold_dir, run, tables[keep].index)
        assert np.allclose(probabilities, tables[keep][list(run.classes)], atol=1e-5)
        pd.testing.assert_frame_equal(oof[oof["fold"] == fold].sort_index(), tables[keep])

        history, record = pd.read_csv(fold_dir.path / "history.csv"), fold_dir.read_record()
        best = int(history["val_loss"].idxmin()) + 1
        epochs = best + 2 if keep == "best" else 3
        assert list(history["epoch"]) == list(range(1, epochs + 1)) and record.best_epoch == best < epochs
        assert history["val_score"].tolist() == history["val_loss"].tolist()  # the metric is the log loss
        assert history["val_loss"].iloc[-1] == pytest.approx(scores["last"]) and history[
            "val_loss"
        ].min() == pytest.approx(scores["best"])
        assert record.kept == keep and read_weights(fold_dir.weights_path, None).file.epoch == (
            best if keep == "best" else 3
        )
        assert record.seconds == pytest.approx(history["seconds"].sum(), abs=0.051) and record.epochs == epochs
        assert not fold_dir.resume_path.exists()


def test_a_run_has_a_score_from_its_first_fold_on(kept):
    *_, recorder = kept
    assert recorder.scored == {0: (), 2: (0,)}


def test_run_metrics_are_of_the_kept_epoch_and_best_minus_last_is_a_gain_where_lower_is_better(kept):
    keep, run, metrics, _ = kept
    tables = {
        epoch: pd.concat([validation(run.fold_dir(fold), epoch, run.classes) for fold in (0, 2)])
        for epoch in ("best", "last")
    }
    losses = {epoch: log_losses(*run.task.to_arrays(table)) for epoch, table in tables.items()}
    per_fold = {
        epoch: [losses[epoch][table["fold"] == fold].mean() for fold in (0, 2)] for epoch, table in tables.items()
    }
    assert RunMetrics.read(Path("runs/x/metrics.json")) == metrics
    scores = metrics.scores
    assert (metrics.metric, metrics.kept, metrics.folds_done, metrics.complete) == ("log_loss", keep, (0, 2), False)
    assert not run.record.higher_is_better
    assert scores.per_fold == {epoch: pytest.approx(values) for epoch, values in per_fold.items()}
    assert scores.mean == pytest.approx(np.mean(per_fold[keep]))
    assert scores.sd == pytest.approx(np.std(per_fold[keep], ddof=1))
    assert scores.oof.best.score == pytest.approx(losses["best"].mean())
    assert scores.oof.last.score == pytest.approx(losses["last"].mean())
    assert scores.oof.kept.score == pytest.approx(losses[keep].mean())
    low, high = scores.oof.kept.interval
    assert low < scores.oof.kept.score < high and scores.oof.kept.optimistic == (keep == "best")
    assert scores.best_minus_last == pytest.approx(losses["last"].mean() - losses["best"].mean()) and (
        scores.best_minus_last > 0
    )
    line = summary_line(metrics)
    assert f"CV {scores.mean:.4f} ± {scores.sd:.4f} (folds 0,2 only), OOF {scores.oof.kept.score:.4f}" in line
    assert ("optimistic" in line) == (keep == "best") and f"best-last +{scores.best_minus_last:.4f}" in line


def test_observers_learn_of_each_end_and_wandb_gets_the_confusion_of_the_kept_epoch(kept):
    keep, run, _, recorder = kept
    assert recorder.ends == 2
    for fold in (0, 2):
        targets, probabilities = run.task.to_arrays(validation(run.fold_dir(fold), keep, run.classes))
        chart = track_fold(run, fold, None).confusion
        assert np.array_equal(chart.targets, targets) and np.array_equal(chart.predicted, probabilities.argmax(1))


def test_open_debug_setup_is_one_short_epoch_from_scratch_without_wandb(kept, monkeypatch):
    """--debug: no observer is made for it, whatever log.wandb says."""
    _, run, _, _ = kept
    log = run.config.log.model_copy(update={"wandb": "online"})
    monkeypatch.setattr(live, "WandbObserver", lambda *_: pytest.fail("a W&B run was started"))
    for _ in range(2):
        setup = open_debug_setup(run.config.model_copy(update={"log": log}), CPU, [0])
        assert live.wandb_observers(setup.run, 0, setup.dataset) == ()
        assert setup.run.name == "debug/x" and setup.config.train.epochs == 1
        train, val = setup.split(0)
        assert len(train) == 32 and len(val) == 16 and not set(train) & set(val)  # four batches of 8, and all 16
        assert not Path("runs/debug/x/fold0").exists()  # what an earlier call left is deleted
        (Path("runs/debug/x/fold0")).mkdir()
