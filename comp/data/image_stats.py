"""Open every image once and keep a few statistics of each: all that the checks need, without the pixels."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from comp.data.file_hashes import Signature, file_signature, is_settled
from comp.data.image_stats_file import ImageStats, read_stats, write_stats
from comp.data.images import UnreadableImageError, decode_image, read_header
from comp.data.scan import Image
from comp.progress_bar import progress_bar

THUMBNAIL_SIDE = 32  # 3 KB an image: 61 MB for 20,000 images
LUMINANCE_MEAN = 57.625  # mean of the JPEG standard's luminance table, which is quality 50


class UnreadableImage(NamedTuple):
    """An image that cannot be decoded in full, and why."""

    image: Image
    reason: str


@dataclass(frozen=True)
class Survey:
    """The statistics of all readable images, a row per image in the order of `images`, and the unreadable images."""

    images: tuple[Image, ...]
    width: np.ndarray
    height: np.ndarray
    jpeg_quality: np.ndarray
    mean_colour: np.ndarray  # (N, 3)
    sha256: np.ndarray
    thumbnails: np.ndarray  # uint8 (N, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    unreadable: tuple[UnreadableImage, ...]
    rules: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def select(self, keep: Sequence[bool]) -> Survey:
        """Return the rows where `keep` is true, without the unreadable images."""
        mask = np.asarray(keep, bool)
        return Survey(
            tuple(image for image, kept in zip(self.images, mask, strict=True) if kept),
            self.width[mask],
            self.height[mask],
            self.jpeg_quality[mask],
            self.mean_colour[mask],
            self.sha256[mask],
            self.thumbnails[mask],
            (),
            tuple(rule for rule, kept in zip(self.rules, mask, strict=True) if kept),
        )


def survey(images: Sequence[Image], *, kept: Path | None = None, desc: str = "reading images") -> Survey:
    """Return the statistics of all images; those in the file `kept` are not read again, and are written to it.

    Images are decoded in threads: decoders release Python's lock, so two cores read twice as fast.
    """
    known, start = read_stats(kept) if kept else {}, time.time_ns()

    def find(image: Image) -> tuple[Signature | None, ImageStats | UnreadableImage]:
        try:
            signature = file_signature(image.path)
        except OSError as error:
            return None, UnreadableImage(image, str(error))
        stored = known.get(_absolute(image))
        return signature, stored[1] if stored and stored[0] == signature else _read_stats(image)

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        progress = progress_bar(executor.map(find, images), desc, len(images), unit="img")
        signatures, results = zip(*progress, strict=True) if images else ((), ())
    if kept:
        _keep(kept, known, images, signatures, results, start)
    readable = [(image, row) for image, row in zip(images, results, strict=True) if isinstance(row, ImageStats)]
    rows = [row for _, row in readable]
    return Survey(
        images=tuple(image for image, _ in readable),
        width=np.array([row.width for row in rows], int),
        height=np.array([row.height for row in rows], int),
        jpeg_quality=np.array([row.jpeg_quality for row in rows], float),
        mean_colour=np.array([row.mean_colour for row in rows], np.float32).reshape(-1, 3),
        sha256=np.array([row.sha256 for row in rows], str),
        thumbnails=np.array([row.thumbnail for row in rows], np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3),
        unreadable=tuple(result for result in results if isinstance(result, UnreadableImage)),
        rules=tuple(row.rule for row in rows),
    )


def _absolute(image: Image) -> str:
    return os.path.abspath(image.path)


def _keep(
    file: Path,
    known: Mapping[str, tuple[Signature, ImageStats]],
    images: Sequence[Image],
    signatures: Sequence[Signature | None],
    results: Sequence[ImageStats | UnreadableImage],
    start: int,
) -> None:
    """Write the statistics of all files that can be recognised by their times, unless the file has them."""
    settled = {
        _absolute(image): (signature, result)
        for image, signature, result in zip(images, signatures, results, strict=True)
        if signature and isinstance(result, ImageStats) and is_settled(signature, start)
    }
    if any(known.get(path, (None,))[0] != signature for path, (signature, _) in settled.items()):
        write_stats(file, list(settled), [row[0] for row in settled.values()], [row[1] for row in settled.values()])


def _read_stats(image: Image) -> ImageStats | UnreadableImage:
    """Return the statistics of an image, or why it cannot be decoded."""
    try:
        decoded = decode_image(image.path)
        jpeg_quality = _jpeg_quality(read_header(image.path).jpeg_tables)
    except UnreadableImageError as error:
        return UnreadableImage(image, str(error))
    pixels = np.ascontiguousarray(decoded.pixels)
    height, width = pixels.shape[:2]
    sha256 = hashlib.sha256(f"{height}x{width}:".encode())
    sha256.update(pixels.data)
    # Averaging areas at every size: a copy at half the size then has the same thumbnail, without moiré patterns.
    thumbnail = cv2.resize(pixels, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return ImageStats(width, height, jpeg_quality, cv2.mean(pixels)[:3], sha256.hexdigest(), thumbnail, decoded.rule)


def _jpeg_quality(tables: dict[int, list[int]]) -> float:
    """Estimate the JPEG quality by inverting libjpeg's scale from the mean of the luminance table.

    Other encoders give values close to their own quality setting.
    """
    if not tables:
        return float("nan")
    percent = 100 * np.mean(tables[min(tables)]) / LUMINANCE_MEAN
    return float(np.round((200 - percent) / 2 if percent <= 100 else 5000 / percent))
