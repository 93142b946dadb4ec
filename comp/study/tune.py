"""Hyperparameter search: an Optuna study whose trials are ordinary runs, resumable and shared by processes."""

from __future__ import annotations

from functools import partial

import torch

from comp.runs import RUNS
from comp.study.confirm import finish_study
from comp.study.plots import save_figures
from comp.study.record import write_study_record
from comp.study.search import open_search
from comp.study.study_file import StudyConfig
from comp.study.trials import run_trials
from comp.study.workers import run_workers


def tune(study: StudyConfig, trials: int, device: torch.device, storage: str | None = None, workers: int = 1) -> None:
    """Run trials until the study has `trials`, then compare the winner with the base on folds it did not use."""
    open_again = partial(open_search, study, trials, storage)
    search = open_again()
    if workers > 1:
        run_workers(open_again, search, device, workers)
    else:
        run_trials(search, device)
    save_figures(write_study_record(search, with_importances=True), RUNS / study.name / "figures")
    if running := search.running_trials():
        numbers = ", ".join(map(str, running))
        print(f"trial {numbers} is still running in another process; run the same command again when it has ended")
        return
    finish_study(study, search.optuna_study, device)
