"""The suffixes of image files, and which of two files with one name is the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TypeVar

PLAIN_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
ARRAY_SUFFIXES = {".npy", ".dcm", ".dicom"}
# Formats that also hold measurements: taken where the same image has no plainer file.
CONTAINER_SUFFIXES = {".tif", ".tiff", *ARRAY_SUFFIXES}
IMAGE_SUFFIXES = PLAIN_SUFFIXES | CONTAINER_SUFFIXES

AnyPath = TypeVar("AnyPath", bound=PurePath)


def is_named_like_an_image(path: PurePath) -> bool:
    """Return whether a path has a suffix of images, in any case."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def drop_copies_as_arrays(paths: Sequence[AnyPath]) -> list[AnyPath]:
    """Return the paths without the array and DICOM files for which there is a plainer file of the same name.

    They hold the same image, or its features; datasets of earlier versions, which read no such formats, stay the same.
    """
    plainer = {path.stem for path in paths if path.suffix.lower() not in ARRAY_SUFFIXES}
    return [path for path in paths if path.suffix.lower() not in ARRAY_SUFFIXES or path.stem not in plainer]
