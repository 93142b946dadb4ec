"""The worst mistakes of a run: images that it is most confident about and wrong, with a small picture of each."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd

from comp.data.dataset import Dataset
from comp.data.images import UnreadableImageError, read_image, resize
from comp.observers.tracked import Cell, TableRows
from comp.tasks import Task

MAX_MISTAKES = 64
THUMBNAIL = 96  # pixels


def worst_mistakes(table: pd.DataFrame, task: Task, dataset: Dataset | None) -> TableRows:
    """Return the wrong answers of an OOF table, most confident first. Without the images there are no pictures."""
    predictions = table[list(task.columns)].to_numpy(np.float32)
    targets, answers = task.encode(table["label"].tolist()), predictions.argmax(1)
    confidence = predictions.max(1)
    wrong = np.flatnonzero(answers != targets)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_MISTAKES]
    paths = {image.id: image.path for image in dataset.train} if dataset else {}
    rows = []
    for row in worst:
        image = str(table.index[row])
        picture: Cell = None
        with contextlib.suppress(KeyError, UnreadableImageError):
            picture = resize(read_image(paths[image]), THUMBNAIL)
        rows.append(
            (
                picture,
                image,
                task.columns[targets[row]],
                task.columns[answers[row]],
                round(float(confidence[row]), 4),
                round(float(predictions[row, targets[row]]), 4),
                int(table["fold"].iloc[row]),
            )
        )
    return TableRows(("picture", "image", "true", "answer", "confidence", "probability of true", "fold"), tuple(rows))
