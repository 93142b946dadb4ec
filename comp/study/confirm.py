"""The end of a study: its best trial, compared with the base config on folds that the study did not use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from comp import config as configs
from comp.data.folds import parse_fold_range
from comp.errors import UserError
from comp.files import write_atomic
from comp.launch.options import Trainer
from comp.metrics import score
from comp.prediction.validation import read_validation
from comp.runs import RUNS, read_run
from comp.stats import compare_predictions, format_p
from comp.study.status import best_lines, importance_lines
from comp.study.study_file import StudyConfig
from comp.yaml12 import render_yaml


def print_result(study: StudyConfig, optuna_study: optuna.Study) -> None:
    """Print the best trial and the importance of each key."""
    complete = optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise UserError(f"no trial of {study.name} is complete; run more with a larger --trials")
    trials = optuna_study.get_trials(deepcopy=False)
    print(f"\n{len(complete)} of {len(trials)} trials complete")
    for line in (*best_lines(optuna_study, study), *importance_lines(optuna_study)):
        print(line)


def confirm_winner(study: StudyConfig, winner: FrozenTrial, trials: int, trainer: Trainer) -> None:
    """Compare the winner, the best of so many trials, with the base, and write its config."""
    with FileLock(RUNS / study.name / ".confirm.lock"):
        comparison = _compare_with_base(study, winner, trials, trainer)
    print(comparison)
    path = Path("configs/studies") / f"{study.name}.winner.yaml"
    _write_winner(study, winner, comparison, path)
    print(f"wrote {path}; next: python train.py -c {path}")


def _compare_with_base(study: StudyConfig, best: FrozenTrial, trials: int, trainer: Trainer) -> str:
    """Train the winner and the base on the confirm folds, and compare them by the study's metric."""
    winner_config = study.make_config(best.params, f"trial_{best.number:04d}")
    base_config = study.make_config({}, "base")
    predictions = []
    for config in (winner_config, base_config):
        print(f"{config.name} on folds {study.confirm}", flush=True)
        trainer.run_experiment(config, fold=str(study.confirm))
        predictions.append(_read_predictions(RUNS / config.name, study.confirm))
    (targets, winner), (_, base) = predictions
    metric = base_config.train.metric
    comparison = compare_predictions(metric, targets, winner, base)
    low, high = comparison.interval
    return (
        f"on folds {study.confirm}: winner, the best of {trials} trials, {score(metric, targets, winner):.4f}, base "
        f"{score(metric, targets, base):.4f}, gain {comparison.difference:+z.4f} [{low:+z.4f}, {high:+z.4f}] in "
        f"{metric} on {len(targets)} images, {format_p(comparison.p)}, {comparison.verdict}"
    )


def _read_predictions(path: Path, folds: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Return (targets, probabilities) of the validation images of `folds`, in the order of their ids."""
    run = read_run(path)
    tables = [read_validation(run, fold, run.config.train.keep) for fold in parse_fold_range(str(folds))]
    return run.task.to_arrays(pd.concat(tables).sort_index())


def _write_winner(study: StudyConfig, best: FrozenTrial, comparison: str, path: Path) -> None:
    """Write the winner's config, with its score and the comparison with the base in the header."""
    header = (
        f"# The winner of the study {study.name}, trial {best.number}: {best.values[0]:.4f} on folds {study.folds} "
        f"(optimistic).\n# {comparison}\n# python train.py -c {path}\n"
    )
    overrides = configs.parse_overrides(study.overrides(best.params))
    tree = {"extends": os.path.relpath(study.base, path.parent), **overrides}
    write_atomic(path, header + render_yaml(tree))
