"""Hyperparameter search: an Optuna study whose trials are ordinary runs, resumable and shared by processes."""

from __future__ import annotations

from contextlib import suppress

import optuna
import torch
from filelock import AcquireReturnProxy, FileLock, Timeout
from optuna.trial import Trial, TrialState

from comp.data.folds import parse_fold_range, parse_folds, read_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.metrics import find_metric
from comp.observers.protocol import StopTraining
from comp.runs import RUNS, RunLockedError
from comp.schema import Config
from comp.study.confirm import finish_study, format_value
from comp.study.journal import open_journal
from comp.study.pruning import FoldMedianPruner, OptunaReporter
from comp.study.space import StudyConfig
from comp.training import train as training
from comp.training.checks import check_names


def tune(study: StudyConfig, trials: int, device: torch.device) -> None:
    """Run trials until the study has `trials`, then compare the winner with the base on folds it did not use."""
    optuna_study = _open_study(study)
    while (claim := _claim_trial(study, optuna_study, trials)) is not None:
        trial, lock = claim
        with lock:
            _run_trial(study, optuna_study, trial, device)
    running = [trial.number for trial in optuna_study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
    if running:
        numbers = ", ".join(map(str, running))
        print(f"trial {numbers} is still running in another process; run the same command again when it has ended")
        return
    finish_study(study, optuna_study, device)


def _open_study(study: StudyConfig) -> optuna.Study:
    """Check the study, then open its journal; refuse one that was begun with another base or space."""
    base = study.make_config({}, "base")
    _check_study(study, base)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directory = RUNS / study.name
    directory.mkdir(parents=True, exist_ok=True)
    higher_is_better = find_metric(base.train.metric).higher_is_better
    definition = {"space": study.model_dump(exclude={"base"}), "base": base.identity()}
    with FileLock(directory / ".lock"):  # or two processes that begin together would both write the definition
        optuna_study = optuna.create_study(
            storage=open_journal(directory / "journal.log"),
            study_name=study.name,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
            pruner=FoldMedianPruner(base.train.epochs, higher_is_better),
        )
        if "asks" not in optuna_study.user_attrs:
            optuna_study.set_user_attr("asks", definition)
    asks = optuna_study.user_attrs["asks"]
    added = Config(name=study.name).identity()  # keys that an earlier version did not have are at their defaults
    if {**asks, "base": {**added, **asks["base"]}} != definition:
        raise UserError(f"{directory} was begun with another base or space; copy the study under another file name")
    return optuna_study


def _check_study(study: StudyConfig, base: Config) -> None:
    """Check names and folds before the first trial."""
    for config in study.edge_configs():
        check_names(config)
    table = read_folds(base.folds_file, scan(base.source), base.folds.allow_split_groups)
    folds, confirm_folds = (parse_folds(str(text), table) for text in (study.folds, study.confirm))
    if set(folds) & set(confirm_folds):
        raise UserError(
            f"the study's folds {study.folds} and confirm {study.confirm} share a fold; choose confirm folds that the "
            f"study does not use"
        )


def _claim_trial(
    study: StudyConfig, optuna_study: optuna.Study, trials: int
) -> tuple[Trial, AcquireReturnProxy] | None:
    """Return a locked trial to run: one whose process died, or a new one while the study has fewer than `trials`."""
    with FileLock(RUNS / study.name / ".lock"):
        existing = optuna_study.get_trials(deepcopy=False)
        for frozen in existing:
            if frozen.state == TrialState.RUNNING:
                with suppress(Timeout):
                    lock = _lock_trial(study, frozen.number)
                    return Trial(optuna_study, frozen._trial_id), lock
        if len(existing) >= trials:
            return None
        # One seed per trial: a sampler seeded once per process would repeat trial 0 after every restart.
        optuna_study.sampler = optuna.samplers.TPESampler(
            seed=study.seed * 100_003 + len(existing), n_startup_trials=8, constant_liar=True
        )
        trial = optuna_study.ask()
        return trial, _lock_trial(study, trial.number)


def _lock_trial(study: StudyConfig, number: int) -> AcquireReturnProxy:
    """Lock a trial while a process works on it, or raise Timeout. The system frees the lock if the process dies."""
    return FileLock(RUNS / study.name / f".trial_{number:04d}.lock").acquire(timeout=0)


def _run_trial(study: StudyConfig, optuna_study: optuna.Study, trial: Trial, device: torch.device) -> None:
    """Train a trial on the study's folds and report its OOF score, or that it was pruned or failed."""
    values = study.suggest(trial)
    config = study.make_config(values, f"trial_{trial.number:04d}")
    text = " ".join(f"{key}={format_value(value)}" for key, value in values.items())
    print(f"trial {trial.number}: {text}", flush=True)
    reporter = OptunaReporter(trial, parse_fold_range(str(study.folds)), config.train.epochs)
    try:
        metrics = training.run_experiment(config, fold=str(study.folds), device=device, observers=[reporter])
    except StopTraining:
        optuna_study.tell(trial, state=TrialState.PRUNED)
        print(f"trial {trial.number}: pruned")
    except RunLockedError:
        raise
    except UserError as error:  # a diverged loss or an invalid model must not end the study
        optuna_study.tell(trial, state=TrialState.FAIL)
        print(f"trial {trial.number}: {error}")
    else:
        assert metrics.scores, "a trial trains folds that are validated"
        score = metrics.scores.oof.kept.score
        optuna_study.tell(trial, score)
        print(f"trial {trial.number}: {metrics.metric} {score:.4f}")
