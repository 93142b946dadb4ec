"""Draw augmented samples side by side, to look at before a training."""

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
from comp.data.cache import decode
from comp.data.images import SquareSpec, resize
from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.files import write_atomic

GAP = 4  # pixels between images
MARGIN = 110  # pixels for the class names
MAX_ROWS = 24  # classes on a sheet: with 1,000, it was a PNG of 866 MB
MAX_LABEL = 14  # characters of a class name that fit into the margin


def draw_gallery(
    dataset: Dataset, policy: str, augment_device: str, square_spec: SquareSpec, size: int, columns: int, seed: int
) -> np.ndarray:
    """Draw a row per class: an image as it is, then `columns` augmented versions of it.

    Of more than `MAX_ROWS` classes that many are drawn, evenly spread.
    `augment_device` is the config key: `cpu` augments them one by one, `gpu` in one batch, and `auto` shows both.
    """
    methods = {"cpu": [_one_by_one], "gpu": [_in_one_batch], "auto": [_one_by_one, _in_one_batch]}[augment_device]
    rows, shown = [], _shown_classes(dataset.classes)
    by_label: dict[str, list[Image]] = {label: [] for label in shown}
    for image in dataset.train:
        if image.label in by_label:
            by_label[image.label].append(image)
    for label, images in by_label.items():
        if not images:
            raise UserError(f"class {label} has no images; add some, or remove its folder")
        square = decode(images[seed % len(images)], square_spec)
        rows.append([[resize(square, size)], *(augment(square, policy, size, columns, seed) for augment in methods)])
    return _arrange(rows, shown, size)


def _shown_classes(classes: Sequence[str]) -> list[str]:
    return [classes[index] for index in np.linspace(0, len(classes) - 1, min(len(classes), MAX_ROWS)).astype(int)]


def _one_by_one(square: np.ndarray, policy: str, size: int, columns: int, seed: int) -> list[np.ndarray]:
    augmenter = ImageAugmenter(policy)
    return [augmenter(square, size, seed * columns + column) for column in range(columns)]


def _in_one_batch(square: np.ndarray, policy: str, size: int, columns: int, seed: int) -> list[np.ndarray]:
    transforms = sample_transforms(POLICIES[policy], uniform_rows((seed, 0), 0, range(columns)), size)
    images = augment_batch(torch.from_numpy(np.stack([square] * columns)), transforms, size)
    return list(images.round().byte().permute(0, 2, 3, 1).numpy())


def _arrange(rows: Sequence[Sequence[Sequence[np.ndarray]]], labels: Sequence[str], size: int) -> np.ndarray:
    """Place the blocks of images in rows, with the class names on the left, on a white sheet."""
    step = size + GAP
    width = MARGIN + sum(len(block) * step + 3 * GAP for block in rows[0]) - 2 * GAP
    sheet = np.full((len(rows) * step + GAP, width, 3), 255, np.uint8)
    font, grey = cv2.FONT_HERSHEY_SIMPLEX, (40, 40, 40)
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = GAP + index * step
        cv2.putText(sheet, label[:MAX_LABEL], (GAP, top + size // 2), font, 0.45, grey, 1, cv2.LINE_AA)
        left = MARGIN
        for block in row:  # a wider gap separates the blocks: the original, and each method
            for pixels in block:
                sheet[top : top + size, left : left + size] = pixels
                left += step
            left += 3 * GAP
    return sheet


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write RGB pixels as a PNG file."""
    write_atomic(path, cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())
