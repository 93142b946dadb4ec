"""Augmented samples side by side, for people to look at before they spend hours of training on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from comp.batches.augment_batch import augment_batch
from comp.batches.augment_image import ImageAugmenter
from comp.batches.augment_sampling import sample_transforms, uniform_rows
from comp.batches.policies import POLICIES
from comp.data.images import SquareSpec, read_image, resize
from comp.data.scan import Dataset
from comp.files import write_atomic

GAP = 4


def draw_gallery(
    dataset: Dataset, policy: str, where: str, square: SquareSpec, size: int, columns: int, seed: int
) -> np.ndarray:
    """A row per class: the picture as it is, then `columns` augmented versions of it, made as `augment.device` says;
    where that is auto, first one by one and then as many in one batch."""
    ways = {"cpu": [_one_by_one], "gpu": [_in_one_batch], "auto": [_one_by_one, _in_one_batch]}[where]
    rows = []
    for label in dataset.classes:
        images = [image for image in dataset.train if image.label == label]
        chosen = images[seed % len(images)]
        pixels = square(read_image(chosen.path))
        rows.append([[resize(pixels, size)], *(way(pixels, policy, size, columns, seed) for way in ways)])
    return _sheet(rows, dataset.classes, size)


def _one_by_one(pixels: np.ndarray, policy: str, size: int, columns: int, seed: int) -> Sequence[np.ndarray]:
    one = ImageAugmenter(policy)
    return [one(pixels, size, seed * columns + i) for i in range(columns)]


def _in_one_batch(pixels: np.ndarray, policy: str, size: int, columns: int, seed: int) -> Sequence[np.ndarray]:
    draws = sample_transforms(POLICIES[policy], uniform_rows((seed, 0), 0, range(columns)), size)
    images = augment_batch(torch.from_numpy(np.stack([pixels] * columns)), draws, size)
    return images.round().byte().permute(0, 2, 3, 1).numpy()


def _sheet(rows: Sequence[Sequence[Sequence[np.ndarray]]], names: Sequence[str], size: int) -> np.ndarray:
    margin, step = 110, size + GAP
    width = margin + sum(len(block) * step + 3 * GAP for block in rows[0]) - 2 * GAP
    sheet = np.full((len(rows) * step + GAP, width, 3), 255, np.uint8)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = GAP + i * step
        cv2.putText(sheet, name[:14], (GAP, top + size // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40,) * 3, 1, cv2.LINE_AA)
        left = margin
        for block in row:  # the original stands a little apart, and so do the ways
            for pixels in block:
                sheet[top : top + size, left : left + size] = pixels
                left += step
            left += 3 * GAP
    return sheet


def write_png(path: Path, pixels: np.ndarray) -> None:
    write_atomic(path, cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())
