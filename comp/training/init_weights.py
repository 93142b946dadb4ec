"""Start a fold from the kept weights of another run's fold (`train.init`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from comp.checkpoints import load_state_dict
from comp.engine import distributed
from comp.errors import UserError
from comp.records.base import Fold
from comp.records.run import RunRecord
from comp.runs import Run, find_runs


def find_init_run(name: str, record: RunRecord, folds: Sequence[Fold]) -> Run:
    """Return the run to start from; refuse one with another split, or without the finished `folds`."""
    runs = find_runs([name])
    if len(runs) > 1:
        raise UserError(f"train.init: {name} matches {len(runs)} runs; name one, such as {runs[0].name}")
    run = runs[0]
    if run.record.folds_sha256 != record.folds_sha256:
        raise UserError(
            f"train.init: {run.name} was trained on another split, so its folds were trained on images that "
            f"the folds here are validated on; use a run on {record.folds_file}"
        )
    for fold in folds:
        if not run.fold_dir(fold).is_done:
            raise UserError(f"train.init: {run.name} has no finished fold {fold}; train that first")
    return run


def load_init_weights(model: nn.Module, name: str, record: RunRecord, fold: Fold, model_name: str) -> None:
    """Load the weights of that run's `fold` into `model`, on every rank."""
    weights = distributed.call_on_rank_zero(lambda: find_init_run(name, record, [fold]).read_weights(fold))
    try:
        load_state_dict(model, weights.file.state_dict)
    except RuntimeError:
        raise UserError(f"train.init: the weights of {name} do not fit {model_name}; name another run") from None
