"""The scores of a run: metrics.json, the OOF table, and the line that `train.py` ends with."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence

import numpy as np
import pandas as pd

from comp.cli import DEFAULT_CONFIG
from comp.config import load
from comp.data.folds import describe_split_groups
from comp.errors import UserError
from comp.metrics import find_metric, score
from comp.prediction.provenance import validation_provenance
from comp.prediction.tables import PredictionFiles
from comp.prediction.validation import read_validation, validation_file
from comp.records.metrics import EpochOof, KeptOof, OofScores, RunMetrics, RunScores
from comp.runs import Run
from comp.stats import bootstrap_interval, score_report
from comp.track.live import report_summary
from comp.training.setup import Setup


def write_metrics(setup: Setup) -> RunMetrics:
    """Score the folds that are done, write the OOF table and metrics.json, and report them to W&B."""
    run = setup.run
    kept = run.config.train.keep
    with run.lock():
        done = run.folds_done()
        tables = _read_tables(setup, done) if done else {}
        metrics = RunMetrics(
            run=run.name,
            metric=run.record.metric,
            kept=kept,
            folds_done=tuple(done),
            complete=done == list(run.record.folds),
            scores=_score_run(run, tables) if done else None,
            split_groups=run.record.split_groups,
        )
        if done:
            files = PredictionFiles.of_run(run, "torch")
            provenance = validation_provenance(run, setup.dataset, done)
            files.write_oof(files.oof_path("identity"), tables[kept].reset_index(), provenance)
        metrics.write(run.path / "metrics.json")
    report_summary(run, setup.dataset)
    return metrics


def _read_tables(setup: Setup, folds: Sequence[int]) -> dict[str, pd.DataFrame]:
    """Return the predictions of the best and of the last epochs: one table where these are the same."""
    last = _concat_folds(setup, folds, "last")
    files = [[validation_file(setup.run, fold, epoch) for fold in folds] for epoch in ("best", "last")]
    return {"best": last if files[0] == files[1] else _concat_folds(setup, folds, "best"), "last": last}


def _concat_folds(setup: Setup, folds: Sequence[int], epoch: str) -> pd.DataFrame:
    """Return the predictions of the "best" or the "last" epoch of each fold for exactly its validation images."""
    tables = []
    for fold in folds:
        table = read_validation(setup.run, fold, epoch)
        labels = {image.id: image.label for image in (setup.dataset.train[row] for row in setup.split(fold)[1])}
        if table["label"].to_dict() != labels:
            fold_dir = setup.run.fold_dir(fold)
            raise UserError(
                f"the predictions of the {epoch} epoch in {fold_dir.path} have other images or labels than "
                f"fold {fold}; restore them, or delete {fold_dir.weights_path} and train the fold again"
            )
        tables.append(table)
    return pd.concat(tables)


def _score_run(run: Run, tables: dict[str, pd.DataFrame]) -> RunScores:
    kept, metric = run.config.train.keep, run.record.metric
    per_fold = {
        epoch: tuple(score(metric, *run.task.to_arrays(fold_rows)) for _, fold_rows in table.groupby("fold"))
        for epoch, table in tables.items()
    }
    pooled = {epoch: score(metric, *run.task.to_arrays(table)) for epoch, table in tables.items()}
    targets, probabilities = run.task.to_arrays(tables[kept])
    return RunScores(
        mean=statistics.mean(per_fold[kept]),
        sd=statistics.stdev(per_fold[kept]) if len(per_fold[kept]) > 1 else None,
        per_fold=per_fold,
        oof=OofScores(
            kept=KeptOof(pooled[kept], bootstrap_interval(metric, targets, probabilities), optimistic=kept == "best"),
            best=EpochOof(pooled["best"]),
            last=EpochOof(pooled["last"]),
        ),
        best_minus_last=(pooled["best"] - pooled["last"]) * (1 if run.record.higher_is_better else -1),
        baseline=score(metric, targets, np.broadcast_to(run.task.baseline(targets), probabilities.shape)),
        report=score_report(targets, probabilities, run.classes) if run.task.has_confusion else None,
    )


def summary_line(metrics: RunMetrics, full: bool = False) -> str:
    """Return the line that `train.py` ends with; `full`: the model without validation was trained."""
    name, scores = metrics.run, metrics.scores
    if name.startswith("debug/"):
        return f"runs/{name} works; do not use its scores"
    default = load(DEFAULT_CONFIG)[0].name
    next_step = "next: python infer.py" + ("" if name == default else f" {shlex.quote(name)}")
    if full or scores is None:
        return f"{name}: trained on all images, so there is no CV score; {next_step} --fold full"
    spread = "" if scores.sd is None else f" ± {scores.sd:.4f}"
    folds = "" if metrics.complete else f" (folds {','.join(map(str, metrics.folds_done))} only)"
    low, high = scores.oof.kept.interval
    optimistic = " (optimistic: each fold's best epoch was chosen on it)" if metrics.kept == "best" else ""
    remark, baseline = describe_split_groups(metrics.split_groups), _against_baseline(metrics.metric, scores)
    return (
        f"CV {scores.mean:.4f}{spread}{folds}, OOF {scores.oof.kept.score:.4f} "
        f"[{low:.3f}, {high:.3f}]{optimistic}{baseline}, best-last {scores.best_minus_last:+.4f}, "
        f"{remark + ', ' if remark else ''}{next_step}"
    )


def _against_baseline(metric: str, scores: RunScores) -> str:
    """Return the score that needs no image, and a warning if the model is no better."""
    if scores.baseline is None:
        return ""
    is_better = find_metric(metric).sign * (scores.oof.kept.score - scores.baseline) > 0
    return f", baseline {scores.baseline:.4f}{'' if is_better else ' (warning: the model is no better)'}"
