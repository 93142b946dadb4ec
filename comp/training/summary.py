"""The scores of a run: kept, best and last epoch side by side, so that optimism has a number."""

from __future__ import annotations

import shlex
import statistics
from typing import Any

import pandas as pd

from comp.cli import DEFAULT_CONFIG
from comp.config import load
from comp.files import write_json
from comp.metrics import score
from comp.observers.wandb import wandb_observers
from comp.prediction.provenance import build_provenance, write_provenance
from comp.runs import Run
from comp.stats import bootstrap_interval, score_report
from comp.tables import read_predictions, to_arrays, write_csv
from comp.training.setup import Setup


def write_metrics(setup: Setup) -> dict[str, Any]:
    """Pool the folds that are done, write the OOF table and metrics.json, and say so to W&B once complete."""
    run = setup.run
    with run.lock():
        done = run.folds_done()
        metrics: dict[str, Any] = {
            "run": run.name,
            "metric": run.record.metric,
            "kept": run.config.train.keep,
            "folds_done": done,
            "complete": done == list(run.record.folds),
        }
        if done:
            tables = {which: _concat_folds(run, done, which) for which in ("best", "last")}
            metrics |= _scores(run, tables)
            file = run.path / "predictions" / "identity" / "oof.csv"
            write_csv(file, tables[run.config.train.keep].reset_index())
            write_provenance(file, build_provenance(run, setup.dataset, "oof", done))
        write_json(run.path / "metrics.json", metrics)
    if metrics["complete"]:
        for observer in wandb_observers(run, "summary", "summary"):
            observer.log_summary(
                {
                    "mean": metrics["mean"],
                    "sd": metrics["sd"],
                    "oof": metrics["oof"]["kept"]["score"],
                    "best_minus_last": metrics["best_minus_last"],
                }
            )
            observer.close()
    return metrics


def _concat_folds(run: Run, folds: list[int], which: str) -> pd.DataFrame:
    return pd.concat([read_predictions(run.fold_dir(fold).path / f"{which}.csv", run.classes) for fold in folds])


def _scores(run: Run, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    kept = run.config.train.keep
    metric = run.record.metric
    per_fold = {
        which: [score(metric, *to_arrays(part, run.classes)) for _, part in table.groupby("fold")]
        for which, table in tables.items()
    }
    pooled = {which: score(metric, *to_arrays(table, run.classes)) for which, table in tables.items()}
    low, high = bootstrap_interval(metric, *to_arrays(tables[kept], run.classes))
    return {
        "mean": statistics.mean(per_fold[kept]),
        "sd": statistics.stdev(per_fold[kept]) if len(per_fold[kept]) > 1 else None,
        "per_fold": per_fold,
        "oof": {
            "kept": {"score": pooled[kept], "interval": [low, high], "optimistic": kept == "best"},
            "best": {"score": pooled["best"]},
            "last": {"score": pooled["last"]},
        },
        "best_minus_last": (pooled["best"] - pooled["last"]) * (1 if run.record.higher_is_better else -1),
        "report": score_report(*to_arrays(tables[kept], run.classes), run.classes).to_dict(),
    }


def summary_line(metrics: dict[str, Any], full: bool = False) -> str:
    """What `train.py` ends with; `full` says that the model without validation was asked for."""
    name = metrics["run"]
    if name.startswith("debug/"):
        return f"runs/{name} works; nothing in it counts"
    default = load(DEFAULT_CONFIG)[0].name
    then = "next: python infer.py" + ("" if name == default else f" {shlex.quote(name)}")
    if full or "oof" not in metrics:
        return f"{name}: trained on everything, so there is no CV; {then} --fold full"
    spread = "" if metrics["sd"] is None else f" ± {metrics['sd']:.4f}"
    part = "" if metrics["complete"] else f" (folds {','.join(map(str, metrics['folds_done']))} only)"
    low, high = metrics["oof"]["kept"]["interval"]
    optimistic = " (optimistic: each fold's best epoch was chosen on it)" if metrics["kept"] == "best" else ""
    return (
        f"CV {metrics['mean']:.4f}{spread}{part}, OOF {metrics['oof']['kept']['score']:.4f} "
        f"[{low:.3f}, {high:.3f}]{optimistic}, best-last {metrics['best_minus_last']:+.4f}, {then}"
    )
