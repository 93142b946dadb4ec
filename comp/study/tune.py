"""Hyperparameter search: an Optuna study whose trials are ordinary runs, resumable and shared by processes."""

from __future__ import annotations

from functools import partial

from comp.launch.options import Trainer
from comp.runs import RUNS
from comp.study.confirm import confirm_winner, print_result
from comp.study.finalists import choose_winner, open_finalists
from comp.study.plots import save_figures
from comp.study.record import write_study_record
from comp.study.search import OpenSearch, Search, open_search
from comp.study.status import count_compared
from comp.study.study_file import StudyConfig
from comp.study.trials import run_trials
from comp.study.workers import run_workers


def tune(study: StudyConfig, trials: int, trainer: Trainer, storage: str | None = None, workers: int = 1) -> None:
    """Run trials until the study has `trials`, then compare the winner with the base on folds it did not use."""
    search = _run_search(partial(open_search, study, trials, storage), trainer, workers)
    record = write_study_record(search, with_importances=True)
    save_figures(record, RUNS / study.name / "figures")
    if _is_running(search):
        return
    print_result(study, search.optuna_study)
    if study.is_multi_objective:
        print(
            "choose one of the front; python train.py -c runs/<study>/trial_<number>/config.yaml trains all its folds"
        )
        return
    winner = search.optuna_study.best_trial
    if study.finalists > 1:
        finals = _run_search(partial(open_finalists, study, trials, storage), trainer, workers)
        if _is_running(finals):
            return
        winner, lines = choose_winner(study, search.optuna_study, finals.optuna_study)
        print(*lines, sep="\n")
    confirm_winner(study, winner, count_compared(search.optuna_study), trainer)


def _run_search(open_again: OpenSearch, trainer: Trainer, workers: int) -> Search:
    """Run the trials of a search until none is left for this command."""
    search = open_again()
    if workers > 1:
        run_workers(open_again, search, trainer, workers)
    else:
        run_trials(search, trainer)
    return search


def _is_running(search: Search) -> bool:
    """Return whether other processes have trials, and print their numbers."""
    running = search.running_trials()
    if running:
        numbers = ", ".join(map(str, running))
        print(
            f"{search.label} {numbers} is still running in another process; run the same command again when it has "
            f"ended"
        )
    return bool(running)
