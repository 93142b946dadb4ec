"""Teachers: finished runs that a training learns from, checked before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comp.errors import UserError
from comp.files import file_exists
from comp.prediction_file import read_any_predictions
from comp.records.base import Fold
from comp.records.run import RunRecord
from comp.runs import RUNS, FoldDir, Run, find_runs
from comp.schema import Config
from comp.training.source_runs import find_source_run


def check_teachers(config: Config, draft: RunRecord, folds: Sequence[Fold], restart: bool) -> RunRecord:
    """Check the teachers before the run is created; return its record with the images whose pixels it will see.

    Only folds that have not begun need them. The teachers of a fold that has begun may be missing, but not changed.
    """
    teacher, path = config.teacher, RUNS / config.name
    if not teacher.runs:
        return draft
    is_new = restart or not file_exists(path / "run.json")
    tables = {fold: teacher_table(FoldDir(path / f"fold{fold}"), "train") for fold in (*draft.folds, "full")}
    begun = [fold for fold, table in tables.items() if not is_new and file_exists(table)]
    for fold in begun:
        _check_unchanged(tables[fold])
    starting = [fold for fold in folds if fold not in begun]
    for run in find_teachers(config, draft, starting) if starting else []:
        draft = draft.with_unlabelled(run.record.unlabelled_images)
    return draft.with_unlabelled({"test"}) if teacher.test_images else draft


def find_teachers(config: Config, record: RunRecord, folds: Sequence[Fold]) -> list[Run]:
    """Return the teachers; refuse one that predicts something else, or that has seen what validates its students."""
    runs = [find_source_run("teacher.runs", name, record, folds) for name in config.teacher.runs]
    for run in runs:
        if run.classes != record.classes or run.task.kind != record.task_spec.kind:
            raise UserError(f"teacher.runs: {run.name} predicts other classes; name runs with the classes of this one")
        if run.config.train.keep == "best":
            raise UserError(
                f"teacher.runs: {run.name} keeps each fold's best epoch, which was chosen on the images that the fold "
                f"is validated on here; name a run with train.keep=last"
            )
        if run.path.resolve() == (RUNS / config.name).resolve():
            raise UserError(f"teacher.runs: {run.name} is this run itself; choose another --name")
    return runs


def _check_unchanged(path: Path) -> None:
    """Refuse predictions of teachers whose weights have changed since; teachers that are gone are not compared."""
    made_from = read_any_predictions(path).made_from
    fold = path.parent.name.removeprefix("fold")
    for name, sha256 in made_from.weights.items() if made_from else ():
        try:
            current = find_runs([name])[0].weights_sha256("full" if fold == "full" else int(fold))
        except UserError:
            continue
        if current != sha256:
            raise UserError(
                f"{path.parent} was begun with other weights of its teacher {name}, which was trained again since; "
                f"train this run under another name (--name NEW) or from scratch (--restart)"
            )


def teacher_table(fold_dir: FoldDir, part: str) -> Path:
    """Return the file of the teachers' predictions of the images that a fold is trained on: `train` or `test`."""
    return fold_dir.path / f"teacher_{part}.npz"
