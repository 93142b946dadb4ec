"""Opens every file once and keeps small facts about it: all that the checks need, never a full picture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as PillowImage
from tqdm import tqdm

from comp.data.images import UnreadableImageError, read_image
from comp.data.scan import Image

THUMBNAIL_SIDE = 32  # 3 KB an image: 20,000 of them are 61 MB
LUMINANCE_MEAN = 57.625  # of the JPEG standard's luminance table, which is quality 50


@dataclass(frozen=True)
class ImageStats:
    """What is kept of one picture."""

    width: int
    height: int
    quality: float  # estimated JPEG quality 1..100; NaN for any other format
    colour: tuple[float, ...]  # mean red, green, blue
    sha256: str  # of shape and pixels, not of the file: a PNG of the same pixels is the same
    thumb: np.ndarray  # THUMB x THUMB RGB


@dataclass(frozen=True)
class Survey:
    """The facts of every readable image, row by row in the order of `images`, and the broken files."""

    images: tuple[Image, ...]
    width: np.ndarray
    height: np.ndarray
    quality: np.ndarray
    colour: np.ndarray
    sha256: np.ndarray
    thumbs: np.ndarray
    broken: tuple[tuple[Image, str], ...]

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, keep: Sequence[bool]) -> Survey:
        """The part of the survey where `keep` is true; broken files are left out."""
        keep = np.asarray(keep, bool)
        chosen = tuple(image for image, wanted in zip(self.images, keep, strict=True) if wanted)
        return Survey(
            chosen,
            self.width[keep],
            self.height[keep],
            self.quality[keep],
            self.colour[keep],
            self.sha256[keep],
            self.thumbs[keep],
            (),
        )


def survey(images: Sequence[Image], *, desc: str = "reading images") -> Survey:
    """Decode each image once, in threads: decoders let go of Python's lock, so 2 cores read twice as fast."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(
            tqdm(pool.map(_read_stats, images), total=len(images), desc=desc, unit="img", disable=None, leave=False)
        )
    seen = [(image, facts) for image, facts in zip(images, found, strict=True) if isinstance(facts, ImageStats)]
    broken = tuple((image, why) for image, why in zip(images, found, strict=True) if isinstance(why, str))
    facts = [facts for _, facts in seen]
    return Survey(
        images=tuple(image for image, _ in seen),
        width=np.array([fact.width for fact in facts], int),
        height=np.array([fact.height for fact in facts], int),
        quality=np.array([fact.quality for fact in facts], float),
        colour=np.array([fact.colour for fact in facts], np.float32).reshape(-1, 3),
        sha256=np.array([fact.sha256 for fact in facts], str),
        thumbs=np.array([fact.thumb for fact in facts], np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3),
        broken=broken,
    )


def _read_stats(image: Image) -> ImageStats | str:
    try:
        pixels = np.ascontiguousarray(read_image(image.path))
    except UnreadableImageError as problem:
        return str(problem)
    height, width = pixels.shape[:2]
    sha256 = hashlib.sha256(f"{height}x{width}:".encode())
    sha256.update(pixels)
    # By area whatever the size: a copy at half the size then gives the same thumbnail, without moire.
    thumb = cv2.resize(pixels, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return ImageStats(width, height, _jpeg_quality(image), cv2.mean(pixels)[:3], sha256.hexdigest(), thumb)


def _jpeg_quality(image: Image) -> float:
    """libjpeg's scale, read backwards from the mean of the luminance table; other encoders land close by."""
    with PillowImage.open(image.path) as header:
        tables = getattr(header, "quantization", None)
    if not tables:
        return float("nan")
    percent = 100 * np.mean(tables[min(tables)]) / LUMINANCE_MEAN
    return float(np.round((200 - percent) / 2 if percent <= 100 else 5000 / percent))
