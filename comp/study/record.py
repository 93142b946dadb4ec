"""Write runs/<study>/study.json, which other programs read: they need neither Optuna nor the database."""

from __future__ import annotations

import optuna
from filelock import FileLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from comp.records.study import STUDY_FILE, StudyRecord, TrialRecord, TrialStatus
from comp.runs import RUNS
from comp.study.importance import parameter_importances
from comp.study.search import Search

STATUSES: dict[TrialState, TrialStatus] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def write_study_record(search: Search, with_importances: bool = False) -> StudyRecord:
    """Write the trials so far. Importances take a second, so they are computed when this process is done."""
    directory = RUNS / search.study.name
    with FileLock(directory / ".record.lock"):  # so that an older list does not replace a newer one
        importances = parameter_importances(search.optuna_study) if with_importances else {}
        record = StudyRecord(
            name=search.study.name,
            objectives=search.objectives,
            higher_is_better=tuple(
                direction == StudyDirection.MAXIMIZE for direction in search.optuna_study.directions
            ),
            folds=str(search.study.folds),
            storage=search.store.address,
            trials=trial_records(search.optuna_study),
            importances=importances,
        )
        record.write(directory / STUDY_FILE)
    return record


def trial_records(optuna_study: optuna.Study) -> tuple[TrialRecord, ...]:
    """Return all trials of a study."""
    return tuple(map(_trial_record, optuna_study.get_trials(deepcopy=False)))


def _trial_record(trial: FrozenTrial) -> TrialRecord:
    is_complete = trial.state == TrialState.COMPLETE
    return TrialRecord(
        number=trial.number,
        status=STATUSES[trial.state],
        values=dict(trial.params),
        scores=tuple(trial.values) if is_complete and trial.values else None,
        note=trial.user_attrs.get("note"),
    )
