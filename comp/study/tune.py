"""An Optuna study whose trials are ordinary runs: resumable, shared by processes, and confirmed on other folds."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from filelock import AcquireReturnProxy, FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from comp.data.folds import parse_fold_range, parse_folds, read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.files import write_atomic
from comp.metrics import METRICS, score
from comp.observers.protocol import StopTraining
from comp.runs import RUNS, RunLockedError, read_run
from comp.stats import compare_predictions, format_p
from comp.study.space import StudyConfig
from comp.tables import read_predictions, to_arrays
from comp.training import train as training
from comp.training.setup import check_names
from comp.yaml12 import render_yaml


def tune(study: StudyConfig, trials: int, device: str = "auto") -> None:
    """Bring the study to `trials` ended trials, then hold the winner against the base on folds it never saw."""
    search = _open_study(study)
    while (claim := _claim_trial(study, search, trials)) is not None:
        trial, lock = claim
        with lock:
            _run_trial(study, search, trial, device)
    running = [trial.number for trial in search.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
    if running:
        print(f"trial {', '.join(map(str, running))} is still running elsewhere; give this command again after that")
        return
    _finish_study(study, search, device)


def _open_study(study: StudyConfig) -> optuna.Study:
    """Check all that can be checked before a trial, then open the study's journal."""
    base = study.configure({}, "base")
    for each in study.corners():
        check_names(each)
    table = read_folds(base.folds_file, scan(base.data.root))
    seen, held_out = (parse_folds(str(folds), table) for folds in (study.folds, study.confirm))
    if set(seen) & set(held_out):
        raise UserError(
            f"the study's folds {study.folds} and confirm {study.confirm} share a fold; the winner must be "
            f"confirmed on folds the study has not seen"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = RUNS / study.name
    folder.mkdir(parents=True, exist_ok=True)
    higher = METRICS[base.train.metric].higher_is_better
    search = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        study_name=study.name,
        direction="maximize" if higher else "minimize",
        load_if_exists=True,
        pruner=FoldMedian(base.train.epochs, higher),
    )
    asks = {"space": study.model_dump(exclude={"base"}), "base": base.identity()}
    if "asks" not in search.user_attrs:
        search.set_user_attr("asks", asks)
    elif search.user_attrs["asks"] != asks:
        raise UserError(f"{folder} was begun with another base or space; copy the study under another file name")
    return search


class FoldMedian(optuna.pruners.BasePruner):
    """Stop a trial whose best epoch of this fold is below the median of what complete trials had by the same epoch.
    Optuna's own MedianPruner takes the best over all steps, so that a good first fold would shield a bad second."""

    def __init__(self, epochs: int, higher_is_better: bool, startup: int = 4, warmup: int = 2):
        self.epochs, self.sign = epochs, 1 if higher_is_better else -1
        self.startup, self.warmup = startup, warmup

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        start = (step - 1) // self.epochs * self.epochs
        others = [
            self._best(other, start, step) for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]
        if len(others) < self.startup or step - start <= self.warmup:
            return False
        return self._best(trial, start, step) < np.median(others)

    def _best(self, trial: FrozenTrial, start: int, step: int) -> float:
        return max(
            (self.sign * score for at, score in trial.intermediate_values.items() if start < at <= step),
            default=-np.inf,
        )


def _claim_trial(study: StudyConfig, search: optuna.Study, trials: int) -> tuple[Trial, AcquireReturnProxy] | None:
    """A trial to run: one whose process died, else a new one, while fewer than `trials` are there."""
    with FileLock(RUNS / study.name / ".lock"):
        known = search.get_trials(deepcopy=False)
        for frozen in known:
            if frozen.state == TrialState.RUNNING and (lock := _try_lock(study, frozen.number)):
                return Trial(search, frozen._trial_id), lock
        if len(known) >= trials:
            return None
        # one seed per trial: a sampler seeded once per process would draw trial 0 again after every restart
        search.sampler = optuna.samplers.TPESampler(
            seed=study.seed * 100_003 + len(known), n_startup_trials=8, constant_liar=True
        )
        trial = search.ask()
        return trial, _try_lock(study, trial.number)


def _try_lock(study: StudyConfig, number: int) -> AcquireReturnProxy | None:
    """Held as long as a process works on the trial; the system frees it when that process dies."""
    with suppress(Timeout):
        return FileLock(RUNS / study.name / f".trial_{number:04d}.lock").acquire(timeout=0)
    return None


def _run_trial(study: StudyConfig, search: optuna.Study, trial: Trial, device: str) -> None:
    values = study.suggest(trial)
    config = study.configure(values, f"trial_{trial.number:04d}")
    print(f"trial {trial.number}: " + " ".join(f"{key}={_short(value)}" for key, value in values.items()), flush=True)
    try:
        metrics = training.run_experiment(
            config,
            fold=str(study.folds),
            device=device,
            observers=[OptunaReporter(trial, parse_fold_range(str(study.folds)), config.train.epochs)],
        )
    except StopTraining:
        search.tell(trial, state=TrialState.PRUNED)
        print(f"trial {trial.number}: pruned")
    except RunLockedError:
        raise
    except UserError as problem:  # its loss is no number, or its values make no model: it must not block the study
        search.tell(trial, state=TrialState.FAIL)
        print(f"trial {trial.number}: {problem}")
    else:
        assert metrics.scores, "a trial trains folds that are validated"
        score = metrics.scores.oof.kept.score
        search.tell(trial, score)
        print(f"trial {trial.number}: {metrics.metric} {score:.4f}")


class OptunaReporter:
    """Tells Optuna every epoch's score. Epochs count on through the study's folds, so that a trial is always compared
    with others at the same epoch of the same fold, also when a restart skipped the folds already done."""

    def __init__(self, trial: Trial, folds: list[int], epochs: int):
        self.trial, self.folds, self.epochs = trial, folds, epochs

    def log_step(self, event, images: int) -> None:
        pass

    def log_epoch(self, fold: int | str, row: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a resumed fold repeats an epoch; Optuna keeps the first value
            self.trial.report(row["val_score"], self.folds.index(fold) * self.epochs + row["epoch"])
        if self.trial.should_prune():
            raise StopTraining

    def log_predictions(self, truth, probabilities) -> None:
        pass

    def close(self) -> None:
        pass


def _finish_study(study: StudyConfig, search: optuna.Study, device: str) -> None:
    complete = search.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise UserError(f"no trial of {study.name} came to its end; ask for more with --trials")
    best = search.best_trial
    ended = search.get_trials(deepcopy=False)
    print(
        f"\n{len(complete)} of {len(ended)} trials complete. Best: trial {best.number}, {best.value:.4f} on folds "
        f"{study.folds}: optimistic, the best of {len(complete)} on the folds that chose it"
    )
    for key, value in best.params.items():
        print(f"  {key}={_short(value)}")
    shares = importances(search)
    for key, share in shares.items():
        print(f"  importance {share:.2f}  {key}")
    if not shares:
        print("  too few trials yet to say which key matters")
    with FileLock(RUNS / study.name / ".confirm.lock"):
        verdict = _confirm(study, best, device)
    print(verdict)
    path = Path("configs/studies") / f"{study.name}.winner.yaml"
    _write_winner(study, best, verdict, path)
    print(f"wrote {path}; next: python train.py -c {path}")


def importances(search: optuna.Study) -> dict[str, float]:
    """Each key's share of the spread of scores; nothing below ten trials, where it would be a guess."""
    if len(search.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 10:
        return {}
    try:
        return optuna.importance.get_param_importances(search)
    except (ValueError, RuntimeError):  # all scores equal
        return {}


def _confirm(study: StudyConfig, best: FrozenTrial, device: str) -> str:
    """Compare the winner with the base by the study's metric, on folds the study did not look at."""
    predictions = []
    for values, name in ((best.params, f"trial_{best.number:04d}"), ({}, "base")):
        config = study.configure(values, name)
        print(f"{config.name} on folds {study.confirm}", flush=True)
        training.run_experiment(config, fold=str(study.confirm), device=device)
        predictions.append(_read_predictions(RUNS / config.name, study.confirm))
    (targets, winner), (_, base) = predictions
    metric = study.configure({}, "base").train.metric
    comparison = compare_predictions(metric, targets, winner, base)
    low, high = comparison.interval
    return (
        f"on folds {study.confirm}: winner {score(metric, targets, winner):.4f}, base "
        f"{score(metric, targets, base):.4f}, gain {comparison.difference:+z.4f} [{low:+z.4f}, {high:+z.4f}] in "
        f"{metric} on {len(targets)} images, {format_p(comparison.p)}, {comparison.verdict}"
    )


def _read_predictions(path: Path, folds: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Return (targets, probabilities) of the validation images of `folds`, in the order of their ids."""
    run = read_run(path)
    tables = [
        read_predictions(run.fold_dir(fold).path / f"{run.config.train.keep}.csv", run.classes)
        for fold in parse_fold_range(str(folds))
    ]
    return to_arrays(pd.concat(tables).sort_index(), run.classes)


def _write_winner(study: StudyConfig, best: FrozenTrial, verdict: str, path: Path) -> None:
    tree = {"extends": os.path.relpath(study.base, path.parent), **study.tree(best.params)}
    header = (
        f"# The winner of the study {study.name}, trial {best.number}: {best.value:.4f} on folds {study.folds} "
        f"(optimistic).\n# {verdict}\n# python train.py -c {path}\n"
    )
    write_atomic(path, header + render_yaml(tree))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
