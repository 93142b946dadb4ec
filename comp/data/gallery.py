"""Augmented samples side by side, for people to look at before they spend hours of training on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from comp.data.augment import Policy
from comp.data.images import Square, read_image, resize
from comp.data.scan import Dataset
from comp.tables import write_atomic

GAP = 4


def draw_gallery(dataset: Dataset, policy: str, square: Square, size: int, columns: int, seed: int) -> np.ndarray:
    """A row per class: the picture as it is, then `columns` augmented versions of it."""
    augment = Policy(policy)
    rows = []
    for label in dataset.classes:
        images = [image for image in dataset.train if image.label == label]
        chosen = images[seed % len(images)]
        pixels = square(read_image(chosen.path))
        rows.append([resize(pixels, size), *(augment(pixels, size, seed * columns + i) for i in range(columns))])
    return _sheet(rows, dataset.classes, size)


def _sheet(rows: Sequence[Sequence[np.ndarray]], names: Sequence[str], size: int) -> np.ndarray:
    margin = 110
    step = size + GAP
    sheet = np.full((len(rows) * step + GAP, margin + len(rows[0]) * step + 3 * GAP, 3), 255, np.uint8)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = GAP + i * step
        cv2.putText(sheet, name[:14], (GAP, top + size // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40,) * 3, 1, cv2.LINE_AA)
        for j, pixels in enumerate(row):
            left = margin + j * step + (3 * GAP if j else 0)  # the original stands a little apart
            sheet[top:top + size, left:left + size] = pixels
    return sheet


def write_png(path: Path, pixels: np.ndarray) -> None:
    write_atomic(path, cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())
