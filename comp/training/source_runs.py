"""Find a finished run that a training takes something from: fold k uses its fold k alone."""

from __future__ import annotations

from collections.abc import Sequence

from comp.errors import UserError
from comp.records.base import Fold
from comp.records.run import RunRecord
from comp.runs import Run, find_runs


def find_source_run(key: str, name: str, record: RunRecord, folds: Sequence[Fold]) -> Run:
    """Return the run that the config key names; refuse one with another split, or without the finished `folds`."""
    runs = find_runs([name])
    if len(runs) > 1:
        raise UserError(f"{key}: {name} matches {len(runs)} runs; name one, such as {runs[0].name}")
    run = runs[0]
    if run.record.folds_sha256 != record.folds_sha256:
        raise UserError(
            f"{key}: {run.name} was trained on another split, so its folds were trained on images that "
            f"the folds here are validated on; use a run on {record.folds_file}"
        )
    for fold in folds:
        if not run.fold_dir(fold).is_done:
            raise UserError(f"{key}: {run.name} has no finished fold {fold}; train that first")
    return run
