"""Decode image files, and turn images of any shape into squares. The only module that decodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

cv2.setNumThreads(0)  # one thread per image: OpenCV's threads compete with torch's on small machines


class UnreadableImageError(Exception):
    """A file that is not a complete image; its text is the reason."""


@dataclass(frozen=True)
class SquareSpec:
    """The steps that make an image square: an optional centre crop in pixels, then squash, crop or pad to `size`.

    The names and the order of these fields are part of every cache key (cache.py) and of every bundle.
    """

    size: int
    fit: str = "squash"
    crop: int | None = None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the square of an image, uint8 (size, size, 3)."""
        if self.crop:
            pixels = _crop_centre(pixels, self.crop, self.crop)
        height, width = pixels.shape[:2]
        if self.fit == "crop":
            pixels = _crop_centre(pixels, min(height, width), min(height, width))
        elif self.fit == "pad":
            side = max(height, width)
            top, left = (side - height) // 2, (side - width) // 2
            pixels = cv2.copyMakeBorder(
                pixels, top, side - height - top, left, side - width - left, cv2.BORDER_REFLECT_101
            )
        return resize(pixels, self.size)


def read_image(path: Path) -> np.ndarray:
    """Return the pixels of a file as uint8 RGB, upright.

    Pillow decodes, because OpenCV fills a truncated JPEG with grey without an error.
    """
    try:
        with PillowImage.open(path) as image:
            image.load()
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError:
        raise UnreadableImageError("empty file" if path.stat().st_size == 0 else "not an image") from None
    except FileNotFoundError:
        raise UnreadableImageError("missing") from None
    except (OSError, SyntaxError, ValueError, EOFError, PillowImage.DecompressionBombError) as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from None


def longest_side(path: Path) -> int:
    """Return the longer side in pixels from the file header, or 0 for an unreadable file (`read_image` reports why)."""
    try:
        with PillowImage.open(path) as image:
            return max(image.size)
    except (OSError, SyntaxError, ValueError):
        return 0


def _to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    """Convert any mode to RGB. Images of 16 bits and more are scaled; Pillow would clip them."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float32)
        maximum = values.max(initial=0)
        white = 65535.0 if maximum > 255 else 1.0 if image.mode == "F" and maximum <= 1 else 255.0
        image = PillowImage.fromarray((values * (255.0 / white)).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to size x size.

    Area averaging looks better from half the side down; above that, linear interpolation is as clean and 5 times
    faster (256 to 224 px).
    """
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    interpolation = cv2.INTER_AREA if min(height, width) >= 2 * size else cv2.INTER_LINEAR
    return cv2.resize(pixels, (size, size), interpolation=interpolation)


def _crop_centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the centre of an image, at most `height` x `width`."""
    height, width = min(height, pixels.shape[0]), min(width, pixels.shape[1])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
