"""Small pictures of images as data URIs, for a page that loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from comp.data.images import UnreadableImageError, read_image

SIDE = 128  # pixels of the longer side
JPEG_QUALITY = 82  # 4 KB for a blood cell


@dataclass(frozen=True)
class Pictures:
    """The files of images by image id."""

    paths: Mapping[str, Path]

    def data_uri(self, image: str, side: int = SIDE) -> str:
        """Return an image as a JPEG, its longer side at most `side`; "" for one that is missing or unreadable."""
        path = self.paths.get(image)
        if path is None:
            return ""
        try:
            pixels = read_image(path)
        except UnreadableImageError:
            return ""
        return thumbnail_uri(pixels, side)


def thumbnail_uri(pixels: np.ndarray, side: int = SIDE) -> str:
    """Return uint8 RGB pixels, shrunk so that the longer side is at most `side`, as a JPEG in a data URI."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    return jpeg_data_uri(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def jpeg_data_uri(pixels: np.ndarray) -> str:
    """Return uint8 RGB pixels as a JPEG in a data URI."""
    _, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
