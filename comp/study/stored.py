"""Studies that are only read: another one's best points, and what `--status` shows."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from comp.errors import UserError
from comp.files import file_exists
from comp.records.study import JOURNAL
from comp.runs import RUNS
from comp.study.space import as_dimension
from comp.study.study_file import StudyConfig

WARM_POINTS = 5


def read_stored(name: str, url: str | None) -> optuna.Study:
    """Return a study for reading; nothing is created, locked or repaired."""
    missing = UserError(f"no trial of {name} is begun; run python -m comp tune on its file, with the same --storage")
    storage: BaseStorage
    if url is None:
        path = RUNS / name / JOURNAL
        if not file_exists(path):
            raise missing
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
        except Exception as error:  # whatever Optuna raises for damaged lines
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}); run the study again to repair it"
            ) from None
    else:
        from comp.study.database import open_database
        from comp.study.storage_url import parse_storage_url

        storage = open_database(parse_storage_url(url), read_only=True)
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise missing from None


def best_points(study: StudyConfig, url: str | None) -> list[dict[str, object]]:
    """Return the values of the best trials of `study.warm_start` that this study's space contains.

    They are trained again: scores under another base are not comparable.
    """
    assert study.warm_start is not None
    other = read_stored(study.warm_start, url)
    trials = other.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trials.sort(key=lambda trial: trial.values[0], reverse=other.directions[0] == StudyDirection.MAXIMIZE)
    points: list[dict[str, object]] = []
    for trial in trials:
        point = {key: value for key, value in trial.params.items() if key in study.space}
        if point and point not in points and all(as_dimension(study.space[key]).contains(point[key]) for key in point):
            points.append(point)
    if not points:
        raise UserError(f"warm_start: no complete trial of {study.warm_start} is in this space; remove warm_start")
    return points[:WARM_POINTS]
