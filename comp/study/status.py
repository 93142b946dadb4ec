"""`tune --status`: the state of a study, read from another terminal or machine while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from statistics import median

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from comp.study.importance import MIN_TRIALS, parameter_importances
from comp.study.space import format_value
from comp.study.stored import read_stored
from comp.study.study_file import StudyConfig
from comp.text import format_duration, format_table

HISTORY_LINES = 10


def print_status(study: StudyConfig, trials: int, storage: str | None) -> None:
    """Print best, history, importances, the trials that run, were pruned or failed, and the time left."""
    optuna_study = read_stored(study.name, storage)
    for line in status_lines(optuna_study, study, trials, datetime.now()):
        print(line)


def status_lines(optuna_study: optuna.Study, study: StudyConfig, trials: int, now: datetime) -> list[str]:
    """Return the lines of a study's state."""
    existing = optuna_study.get_trials(deepcopy=False)
    counts = Counter(trial.state for trial in existing)
    words = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
             TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}  # fmt: skip
    parts = ", ".join(f"{counts[state]} {word}" for state, word in words.items() if counts[state])
    lines = [f"{study.name}: {len(existing)} of {max(trials, len(existing))} trials begun: {parts or 'none'}"]
    complete = [trial for trial in existing if trial.state == TrialState.COMPLETE]
    if complete:
        lines += best_lines(optuna_study, study)
        if len(optuna_study.directions) == 1:
            lines += _history_lines(complete, optuna_study.directions[0] == StudyDirection.MAXIMIZE)
        lines += importance_lines(optuna_study)
    for trial in existing:
        if trial.state == TrialState.RUNNING:
            lines.append(_running_line(trial, now))
        elif trial.state == TrialState.FAIL:
            lines.append(f"failed: trial {trial.number}: {trial.user_attrs.get('note', 'for an unknown reason')}")
    if pruned := [str(trial.number) for trial in existing if trial.state == TrialState.PRUNED]:
        lines.append(f"pruned: {', '.join(pruned)}")
    return [*lines, _time_left(existing, trials, now)]


def best_lines(optuna_study: optuna.Study, study: StudyConfig) -> list[str]:
    """Return the best trial and its values."""
    if len(optuna_study.directions) > 1:
        return front_lines(optuna_study)
    best = optuna_study.best_trial
    return [
        f"best: trial {best.number}, {best.value:.4f} on folds {study.folds}: optimistic, the best of "
        f"{count_compared(optuna_study)} on the folds that chose it",
        *(f"  {key}={format_value(value)}" for key, value in best.params.items()),
    ]


def count_compared(optuna_study: optuna.Study) -> int:
    """Return how many trials the best one is the best of. A pruned trial has lost too: it was stopped for its score."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return len(optuna_study.get_trials(deepcopy=False, states=states))


def front_lines(optuna_study: optuna.Study) -> list[str]:
    """Return a table of the trials that no other beats in every objective, the fastest first."""
    front = sorted(optuna_study.best_trials, key=lambda trial: trial.values[1])
    rows = [
        [str(trial.number), f"{trial.values[0]:.4f}", f"{trial.values[1]:.3f}",
         " ".join(f"{key}={format_value(value)}" for key, value in trial.params.items())]
        for trial in front
    ]  # fmt: skip
    title = f"Pareto front: no trial is better than these {len(front)} in both; each score is optimistic"
    return [title, format_table(("trial", "score", "ms per image", "values"), rows, left=(3,))]


def importance_lines(optuna_study: optuna.Study) -> list[str]:
    """Return the importance of each key."""
    importances = parameter_importances(optuna_study)
    if not importances:
        return [f"  too few trials for importances; they need {MIN_TRIALS} complete trials"]
    return [f"  importance {importance:.2f}  {key}" for key, importance in importances.items()]


def _history_lines(complete: Sequence[FrozenTrial], higher_is_better: bool) -> list[str]:
    """Return the trials that were better than all before them, the last ones."""
    steps: list[FrozenTrial] = []
    for trial in complete:
        score, best = trial.values[0], steps[-1].values[0] if steps else None
        if best is None or (score > best if higher_is_better else score < best):
            steps.append(trial)
    shown = steps[-HISTORY_LINES:]
    return ["history: " + ", ".join(f"trial {trial.number} {trial.values[0]:.4f}" for trial in shown)]


def _running_line(trial: FrozenTrial, now: datetime) -> str:
    worker = trial.user_attrs.get("worker")
    host = f" on {worker['host']}, process {worker['pid']}" if isinstance(worker, dict) else ""
    since = f", begun {format_duration(_seconds(trial, now))} ago" if trial.datetime_start else ""
    return f"running: trial {trial.number}{host}{since}, epoch {trial.last_step or 0} of its folds"


def _time_left(existing: Sequence[FrozenTrial], trials: int, now: datetime) -> str:
    ended = [trial for trial in existing if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    running = [trial for trial in existing if trial.state == TrialState.RUNNING]
    remaining = trials - sum(trial.state.is_finished() for trial in existing)
    if remaining <= 0:
        return "time left: none; every trial has ended"
    if not ended:
        return "time left: unknown until a trial has ended"
    typical = median(_seconds(trial, now) for trial in ended)
    spent = sum(min(typical, _seconds(trial, now)) for trial in running)
    at_a_time = max(1, len(running))
    seconds = max(0.0, remaining * typical - spent) / at_a_time
    return (
        f"time left: about {format_duration(seconds)} for {remaining} trials of {format_duration(typical)}, "
        f"{at_a_time} at a time"
    )


def _seconds(trial: FrozenTrial, now: datetime) -> float:
    """Return the seconds between a trial's start and its end, or until now."""
    return ((trial.datetime_complete or now) - (trial.datetime_start or now)).total_seconds()
