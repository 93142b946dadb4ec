"""Predict what a program holds: paths, PIL images or arrays of pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from comp.data.images import UnreadableImageError, pillow_to_rgb
from comp.errors import UserError
from comp.serving.images import Reader, find_images, unreadable_error
from comp.serving.model import ServedModel

ImageLike = str | Path | Image | np.ndarray


def find_any(images: ImageLike | Iterable[ImageLike]) -> list[Path] | list[np.ndarray]:
    """Return the files that paths name (files, folders or patterns), or the pixels of images in memory."""
    items: list[Any] = list(images) if _is_series(images) else [images]  # type: ignore[arg-type]
    if all(isinstance(item, (str, Path)) for item in items):
        return find_images([str(item) for item in items])
    return [_to_pixels(item, position) for position, item in enumerate(items)]


def predict_any(model: ServedModel, images: list[Path] | list[np.ndarray]) -> tuple[list[str], np.ndarray]:
    """Return the name of each image, its path or its position, and predictions in batches as infer.py makes them."""
    paths = [image for image in images if isinstance(image, Path)]
    if not paths:
        pixels = [image for image in images if not isinstance(image, Path)]
        return [str(position) for position in range(len(pixels))], model.predict(pixels)
    reader = Reader(paths, model.batch_size)
    predictions = model.predict_batches(reader.batches_with_bar())
    if reader.unreadable:
        raise unreadable_error(reader)
    return [str(path) for path in reader.read], predictions


def _is_series(images: object) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim not in (2, 3)
    return isinstance(images, Iterable) and not isinstance(images, (str, Image))


def _to_pixels(item: object, position: int) -> np.ndarray:
    if isinstance(item, Image):
        try:
            return pillow_to_rgb(item)
        except UnreadableImageError as error:
            raise UserError(f"image {position} cannot be read: {error}; replace it") from None
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3 and item.size:
        return item
    kind = f"{item.dtype} {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
    raise UserError(
        f"image {position} is {kind}; pass paths alone, or PIL images and uint8 arrays of shape (height, width, 3)"
    )
