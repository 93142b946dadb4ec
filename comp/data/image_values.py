"""Turn the values of a decoded image, of any type and range, into uint8 RGB by a rule that can be printed.

Values of 8 bits stay as they are. All others are mapped linearly from a window to 0 to 255: the window that the file
states, else that from one percentile of the image to another, chosen for each image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

PERCENTILES = (0.5, 99.5)  # a few hot pixels, or a bright marker, then leave the contrast of the rest as it is
# The rule of this module in the cache keys of images of more than 8 bits. Change it when their pixels change.
CONVERSION = f"percentiles {PERCENTILES[0]:g}-{PERCENTILES[1]:g} 1"
SIGMOID_STEEPNESS = -4.0  # of the DICOM standard, PS3.3 C.11.2.1.3.1


@dataclass(frozen=True)
class Window:
    """The values from `low` to `high` that become 0 to 255; `sigmoid` bends the ends instead of cutting them."""

    low: float
    high: float
    shape: Literal["linear", "sigmoid"] = "linear"


@dataclass(frozen=True)
class ImageValues:
    """The values of an image as they are stored, (height, width) or (height, width, 3), and how to show them."""

    values: np.ndarray
    window: Window | None = None
    is_inverted: bool = False  # low values are bright
    layout: str = ""  # how an array of more dimensions became an image


@dataclass(frozen=True)
class ImageSource:
    """An image file whose header was read: its size, and a function that decodes it."""

    width: int
    height: int
    is_converted: bool  # its values become 8 bits by a window
    decode: Callable[[], ImageValues]
    jpeg_tables: dict[int, list[int]] = field(default_factory=dict)  # quantisation tables; empty for other formats


@dataclass(frozen=True)
class DecodedImage:
    """Pixels, uint8 (height, width, 3), and the rule that made them; the rule is empty for an image of 8 bits."""

    pixels: np.ndarray
    rule: str


def to_rgb(image: ImageValues) -> DecodedImage:
    """Return the pixels of an image. A ValueError says which values cannot be shown."""
    values = image.values
    rules = [image.layout] if image.layout else []
    if values.dtype == np.uint8 and image.window is None:
        pixels = values
    else:
        pixels, rule = _convert(values, image.window)
        rules.append(rule)
    if image.is_inverted:
        pixels = 255 - pixels
        rules.append("inverted, as low values are bright")
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return DecodedImage(pixels, ", ".join(rules))


def _convert(values: np.ndarray, window: Window | None) -> tuple[np.ndarray, str]:
    """Return the values as uint8, and the rule."""
    levels, counts, index = values, None, None
    if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:
        # 12 million pixels: 0.3 s by way of their at most 65,536 levels, against 0.8 s
        index = values.astype(np.intp) - (lowest := int(values.min()))
        counts = np.bincount(index.ravel())
        levels = np.arange(lowest, lowest + len(counts))
    numbers = levels.astype(np.float64 if levels.dtype.itemsize > 4 or levels.dtype.kind in "ui" else np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("some pixels are not finite numbers")
    rule = "the window in the file becomes 0 to 255"
    if window is None:
        window = _percentile_window(numbers, counts)
        rule = f"percentiles {PERCENTILES[0]:g} to {PERCENTILES[1]:g} of the image become 0 to 255"
    with np.errstate(over="ignore", under="ignore"):
        shown = _apply(numbers, window)
    return shown if index is None else shown[index], rule


def _percentile_window(numbers: np.ndarray, counts: np.ndarray | None) -> Window:
    """Return the window between the percentiles of values that occur `counts` times each.

    If they are equal, as in a dark image with few bright pixels, it is from the lowest to the highest value.
    """
    low, high = np.percentile(numbers, PERCENTILES, method="inverted_cdf", weights=counts).tolist()
    return Window(low, high) if low < high else Window(float(numbers.min()), float(numbers.max()))


def _apply(numbers: np.ndarray, window: Window) -> np.ndarray:
    """Map the window to 0 to 255. An image of one value is black. `numbers` is overwritten."""
    span = window.high - window.low
    if not math.isfinite(span):
        raise ValueError("its values are too far apart")
    scale = 255.0 / span if span > 0 else math.inf
    if not scale <= float(np.finfo(numbers.dtype).max):
        return np.zeros(numbers.shape, np.uint8)
    if window.shape == "sigmoid":
        numbers -= (window.low + window.high) / 2
        numbers *= SIGMOID_STEEPNESS / span
        np.clip(numbers, -80, 80, out=numbers)  # exp(80) is still a float32
        np.exp(numbers, out=numbers)
        numbers = 255.0 / (1.0 + numbers)
    else:
        numbers -= window.low
        numbers *= scale
    return np.rint(np.clip(numbers, 0, 255, out=numbers), out=numbers).astype(np.uint8)
