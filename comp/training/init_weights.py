"""The model that a training starts from: a new one, or one with the weights of timm, of a file or of another run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from comp.checkpoints import load_state_dict
from comp.engine import distributed
from comp.errors import UserError
from comp.files import file_exists, file_sha256
from comp.records.base import Fold
from comp.records.run import RunRecord
from comp.runs import RUNS, FoldDir
from comp.schema import Config
from comp.tasks import make_task
from comp.training.source_runs import find_source_run
from comp.zoo.build import build_model
from comp.zoo.weight_file import load_matched, match_weights, read_weight_file


def new_model(config: Config, classes: int, pretrained: bool) -> nn.Module:
    """Build the model of a config with new weights, or with timm's pretrained ones."""
    model = config.model
    return build_model(
        model.name,
        classes,
        size=config.data.size,
        pretrained=pretrained,
        dropout=model.dropout,
        drop_path=model.drop_path,
        init=model.init,
        kwargs=model.kwargs,
    )


def check_init_weights(
    config: Config, draft: RunRecord, model: nn.Module, folds: Sequence[Fold], restart: bool
) -> RunRecord:
    """Check that the initial weights exist and fit before the run is created; return its record with their hash.

    Only folds that have not begun need them. Where all have, a missing file is no error, but a changed one is.
    """
    run_path = RUNS / config.name
    is_new = restart or not file_exists(run_path / "run.json")
    starting = [fold for fold in folds if is_new or not _has_begun(FoldDir(run_path / f"fold{fold}"))]
    if starting and config.train.init:
        source = find_source_run("train.init", config.train.init, draft, starting)
        draft = draft.with_unlabelled(source.record.unlabelled_images)
    if starting and config.model.pretrained:
        new_model(config, make_task(draft.task_spec).outputs, pretrained=True)
    if config.model.weights is None:
        return draft
    path = Path(config.model.weights)
    if not starting:
        return replace(draft, model_weights_sha256=file_sha256(path)) if file_exists(path) else draft
    _check_other_images(path, draft)
    file = read_weight_file(path)
    match = match_weights(config.model.name, model, file)
    if is_new and match.has_backbone:
        print(f"weights: {match}", flush=True)
    elif is_new:
        print(f"warning: layers before the classifier start from random weights: {match}", file=sys.stderr)
    return replace(draft, model_weights_sha256=file.sha256).with_unlabelled(file.unlabelled_images)


def load_init_weights(model: nn.Module, config: Config, record: RunRecord, fold: Fold) -> None:
    """Load the weights of `model.weights`, or those of `fold` in the run `train.init`, into `model`, on every rank."""
    if config.train.init:
        _load_run_weights(model, config.train.init, record, fold, config.model.name)
    if config.model.weights:
        path = Path(config.model.weights)
        file = distributed.call_on_rank_zero(lambda: read_weight_file(path))
        if file.sha256 != record.model_weights_sha256:
            raise UserError(f"model.weights: {path} changed while this command ran; restore it and run again")
        load_matched(model, match_weights(config.model.name, model, file))


def _has_begun(fold_dir: FoldDir) -> bool:
    return fold_dir.is_done or file_exists(fold_dir.resume_path)


def _check_other_images(path: Path, draft: RunRecord) -> None:
    """Refuse the weights of a fold of a run on these images: it was trained on those that other folds validate on."""
    run_path = path.absolute().parent.parent
    if not file_exists(run_path / "run.json"):
        return
    if RunRecord.read(run_path / "run.json").image_list_sha256 == draft.image_list_sha256:
        raise UserError(
            f"model.weights: {path} was trained on images that the folds here are validated on; set "
            f"train.init={run_path.name} instead, which starts fold k from fold k"
        )


def _load_run_weights(model: nn.Module, name: str, record: RunRecord, fold: Fold, model_name: str) -> None:
    weights = distributed.call_on_rank_zero(
        lambda: find_source_run("train.init", name, record, [fold]).read_weights(fold)
    )
    try:
        load_state_dict(model, weights.file.state_dict)
    except RuntimeError:
        raise UserError(f"train.init: the weights of {name} do not fit {model_name}; name another run") from None
