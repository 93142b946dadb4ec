"""Statistics of images kept below runs/.cache/: a file that is as it was is not decoded again.

`folds` after `data check` reads no image, and a second `data check` only those that changed. A file is recognised by
its path, size, both times and inode, as in file_hashes.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np

from comp.data.file_hashes import Signature
from comp.data.image_values import CONVERSION
from comp.errors import UserError
from comp.files import open_atomic, open_file
from comp.prediction_file import ZIP_ERRORS

FORMAT = f"1, {CONVERSION}, OpenCV {cv2.__version__}"  # another: every image is read


@dataclass(frozen=True)
class ImageStats:
    """The statistics of one image."""

    width: int
    height: int
    jpeg_quality: float  # estimated, from 1 to 100; NaN for any other format
    mean_colour: tuple[float, ...]  # red, green, blue
    sha256: str  # hash of shape and pixels, not of the file: a PNG of the same pixels has the same hash
    thumbnail: np.ndarray  # 32 x 32 RGB
    rule: str  # by which its values became 8 bits; empty for an image of 8 bits


def read_stats(file: Path) -> dict[str, tuple[Signature, ImageStats]]:
    """Return the signature and the statistics by path; nothing if the file is missing, damaged or of another format."""
    try:
        with open_file(file) as stream, ZipFile(stream) as archive:
            if _read_array(archive, "format").item() != FORMAT:
                return {}
            return dict(_read_rows(archive))
    except (UserError, *ZIP_ERRORS):
        return {}


def _read_rows(archive: ZipFile) -> Iterator[tuple[str, tuple[Signature, ImageStats]]]:
    names = ("path", "signature", "size", "jpeg_quality", "mean_colour", "sha256", "rule")
    columns = [_read_array(archive, name).tolist() for name in names]
    thumbnails = _read_array(archive, "thumbnail")
    for path, signature, (width, height), quality, colour, sha, rule, thumbnail in zip(
        *columns, thumbnails, strict=True
    ):
        yield path, (tuple(signature), ImageStats(width, height, quality, tuple(colour), sha, thumbnail, rule))


def _read_array(archive: ZipFile, name: str) -> np.ndarray:
    """Return an array of an .npz file, after its checksum was compared."""
    return np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def write_stats(file: Path, paths: Sequence[str], signatures: Sequence[Signature], stats: Sequence[ImageStats]) -> None:
    """Write the statistics of these paths. On a full disk none are kept: the images are read again."""
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "path": np.array(paths, str),
        "signature": np.array(signatures, np.int64).reshape(-1, 4),
        "size": np.array([(row.width, row.height) for row in stats], np.int64).reshape(-1, 2),
        "jpeg_quality": np.array([row.jpeg_quality for row in stats], np.float64),
        "mean_colour": np.array([row.mean_colour for row in stats], np.float64).reshape(-1, 3),
        "sha256": np.array([row.sha256 for row in stats], str),
        "rule": np.array([row.rule for row in stats], str),
        "thumbnail": np.array([row.thumbnail for row in stats], np.uint8),
    }
    with contextlib.suppress(OSError), open_atomic(file) as stream:
        np.savez(stream, **arrays)
