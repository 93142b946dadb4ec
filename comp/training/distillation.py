"""Learn from teachers: soft targets by the models of finished runs, and test images as training images.

Fold k learns from the fold-k models of the teachers. They were trained on the images that it is trained on, so nothing
of its validation images reaches it. The teachers' out-of-fold predictions would leak: the model that predicts an image
of fold j was trained on the labels of fold k.

    target of a training image = (1 - weight) * label + weight * teachers        of a test image = teachers

The teachers predict each image once, unaugmented, before the fold begins: fold<k>/teacher_train.npz and
teacher_test.npz, which contain the hashes of the weights that made them. A resumed fold reads them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from comp.batches.loader import TrainingSet
from comp.data.scan import Image
from comp.engine import distributed
from comp.engine.views import TTA
from comp.ensemble.blend import average_views
from comp.errors import UserError
from comp.files import file_exists
from comp.prediction.predictor import open_predictor
from comp.prediction.tables import test_table
from comp.prediction_file import prediction_values, read_predictions, write_predictions
from comp.records.base import Fold
from comp.records.predictions import Provenance
from comp.runs import Run
from comp.training.setup import Setup
from comp.training.teachers import find_teachers, teacher_table


def add_teachers(setup: Setup, fold: Fold, train_set: TrainingSet) -> TrainingSet:
    """Return `train_set` with the teachers' share in its targets, and with the test images if the config says so."""
    teacher, task, train = setup.config.teacher, setup.task, setup.dataset.train
    parts = {"train": [train[row] for row in train_set.rows]}
    if teacher.test_images:
        parts["test"] = list(setup.dataset.test[: setup.max_images])
    predictions = distributed.call_on_rank_zero(lambda: _read_or_predict(setup, fold, parts))
    labels = train_set.targets
    if labels.ndim == 1:
        labels = np.eye(task.outputs, dtype=np.float32)[labels]
    weight = np.float32(teacher.weight)
    targets = (1 - weight) * labels + weight * task.soft_targets(predictions["train"])
    rows = train_set.rows
    if teacher.test_images:
        chosen = np.flatnonzero(predictions["test"].max(1) >= teacher.min_confidence)
        rows = np.concatenate([rows, len(train) + chosen])  # the test images follow in the setup's cache
        targets = np.concatenate([targets, task.soft_targets(predictions["test"][chosen])])
    return replace(train_set, rows=rows, targets=targets)


def _read_or_predict(setup: Setup, fold: Fold, parts: Mapping[str, Sequence[Image]]) -> dict[str, np.ndarray]:
    """Return the teachers' predictions of each part, from the fold's files or, for a fold that begins, computed."""
    fold_dir = setup.run.fold_dir(fold)
    paths = {part: teacher_table(fold_dir, part) for part in parts}
    if missing := [part for part, path in paths.items() if not file_exists(path)]:
        if file_exists(fold_dir.resume_path):
            raise UserError(f"{paths[missing[0]]} is missing; restore it, or train from scratch with --restart")
        _predict(setup, fold, {part: parts[part] for part in missing})
    predictions = {}
    for part, images in parts.items():
        stored = read_predictions(paths[part], setup.run.classes, setup.task.find_invalid)
        table = stored.table.reindex([image.id for image in images])
        if table.isna().any(axis=None):
            raise UserError(f"{paths[part]} lacks images of this fold; train from scratch with --restart")
        predictions[part] = prediction_values(table, setup.run.classes)
    return predictions


def _predict(setup: Setup, fold: Fold, parts: Mapping[str, Sequence[Image]]) -> None:
    """Write the mean predictions of the teachers' models of `fold` for each part."""
    start, options, columns = time.perf_counter(), setup.config.teacher, setup.run.classes
    by_part: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    weights = {}
    for run in find_teachers(setup.config, setup.run.record, [fold]):
        predictor = open_predictor(run, device=setup.device, only=[fold])
        weights[run.name] = predictor.weights_sha256([fold])[str(fold)]
        for part, images in parts.items():
            available = predictor.dataset.train if part == "train" else predictor.dataset.test
            rows = _rows_of(run, images, available)
            [predictions] = predictor.compute([fold], available, rows, TTA[options.tta], f"fold {fold} {part}")
            by_part[part].append(predictions)
    for part, images in parts.items():
        mean = average_views(setup.task, np.stack(by_part[part]), options.temperature)
        made_from = Provenance(
            weights=weights, labels=setup.dataset.image_list_sha256 if part == "train" else None, images=setup.cache.key
        )
        path = teacher_table(setup.run.fold_dir(fold), part)
        write_predictions(path, test_table(images, mean, columns), columns, made_from)
    counts = " and ".join(f"{len(images):,} {part} images" for part, images in parts.items())
    seconds = time.perf_counter() - start
    print(f"fold {fold}  learns from {', '.join(weights)}: {counts} predicted in {seconds:.0f} s", flush=True)


def _rows_of(run: Run, images: Sequence[Image], available: Sequence[Image]) -> list[int]:
    """Return the positions of `images` among those that a teacher's dataset has."""
    positions = {image.id: position for position, image in enumerate(available)}
    if unknown := next((image.id for image in images if image.id not in positions), None):
        raise UserError(f"teacher.runs: {run.name} has no image {unknown}; name a run on the same images")
    return [positions[image.id] for image in images]
