"""The W&B run of a fold, of a run's summary and of a submission: names that do not depend on the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from comp.files import file_exists
from comp.observers.tracked import RunIdentity
from comp.records.base import Fold
from comp.records.study import STUDY_FILE, StudyRecord, is_study
from comp.runs import RUNS, Run

SUBMISSIONS_FOLDER = RUNS / "submissions" / "wandb"


def wandb_folder(run: Run) -> Path:
    """Return the folder of W&B's own files of a run."""
    return run.path / "wandb"


def is_trial(run: Run) -> bool:
    """Return whether a run is a trial of a study: it is below the study."""
    return find_study(run) is not None


def find_study(run: Run) -> Path | None:
    """Return the directory of the study that a run is a trial of."""
    return next((parent for parent in run.path.parents if parent.name and is_study(parent)), None)


def study_values(run: Run) -> dict[str, Any]:
    """Return the searched values of a trial by key, for W&B's table and parallel coordinates of a study."""
    study, number = find_study(run), re.fullmatch(r"(?:trial|final)_(\d+)(?:-\d+)?", run.path.name)
    if study is None or number is None or not file_exists(study / STUDY_FILE):
        return {}
    trial = StudyRecord.read(study / STUDY_FILE).trial(int(number[1]))
    values = trial.values if trial else {}
    return {"trial": int(number[1]), **{f"study/{key}": value for key, value in values.items()}}


def project_of(run: Run) -> str:
    """Return the W&B project of a run."""
    return run.config.log.project or run.config.dataset


def fold_identity(run: Run, fold: Fold) -> RunIdentity:
    """Return the W&B run of a fold: a resumed fold continues in the same one."""
    return _identity(run, f"fold{fold}", "train")


def summary_identity(run: Run) -> RunIdentity:
    """Return the W&B run of the scores of all folds."""
    return _identity(run, "summary", "summary")


def _identity(run: Run, label: str, job_type: str) -> RunIdentity:
    return RunIdentity(
        key=f"{run.record.name or run.name} {run.record.created} {label}",
        project=project_of(run),
        group=study.relative_to(RUNS).as_posix() if (study := find_study(run)) else run.name,
        job_type="tune" if is_trial(run) else job_type,
        name=f"{run.name}-{label}",
        directory=wandb_folder(run),
    )


def submission_identity(project: str, id: str, sha256: str, job_type: str) -> RunIdentity:
    """Return the W&B run that made (`infer`) or sent (`submit`) the content of a submission."""
    key = f"{job_type} {project} {id} {sha256}"
    return RunIdentity(key, project, id, job_type, f"{id}-{job_type}", SUBMISSIONS_FOLDER)
