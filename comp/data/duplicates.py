"""Finds pictures that are there twice: pixel for pixel, or turned, mirrored, re-encoded, resized, brightened.

A picture's *detail* is what is left after its own blur is taken away. Blurred, all cells in the middle of a
pale slide look alike; in their detail only copies do. Two pictures are near-duplicates when the details of
their 32 px thumbnails correlate at NEAR or more under one of the eight turns and mirrors of a square.

Measured on 4,200 blood-cell photographs (correlation of details):
  honest pairs    8.8 million, 8 transforms each: the closest reaches 0.698
  copies          of 420 pictures, the worst: JPEG quality 50 0.994, quality 20 0.978, half size 0.997,
                  20% darker 0.999, 5% brighter 0.987, 10% brighter 0.944 (white clips: 1 in 420 is missed),
                  turned + mirrored + 10% darker + half size + quality 50 0.981
                  all 420 are found, worst 0.988, under a random turn or mirror, 0.5 to 1.5 times the size,
                  85 to 105% of the brightness, quality 40 to 89; and no honest pair with them
A crop is found only while tiny: 1% off each side gives a median of 0.964 (worst 0.936), 3% one of 0.80.
NEAR stands high because very small pictures are honestly alike: the 1,797 digits of scikit-learn (8x8 pixels)
have 378 pairs above 0.90, 6 above 0.95, none above 0.97.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comp.data.image_stats import Survey
from comp.data.scan import Image

NEAR_THRESHOLD = 0.95  # see above
# 16 px grey details are compared for every pair, to choose the few worth a closer look. There the worst of
# the same copies is at 0.997, and the closest honest pair of blood cells at 0.795.
CANDIDATE_THRESHOLD = 0.95
MIN_DETAIL = 1.0  # grey levels of detail (rms); rounding alone makes 0.3, the flattest blood cell has 8.5
BLOCK_ROWS = 512  # images compared at once with all: 40 MB at 20,000 images
BLOCK_PAIRS = 2048  # pairs looked at closely at once: 40 MB of details
TRANSFORMS = (
    "",
    "turned 90°",
    "turned 180°",
    "turned 270°",
    "mirrored",
    "mirrored, turned 90°",
    "mirrored, turned 180°",
    "mirrored, turned 270°",
)


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that are one picture: `b` is `a` after `transform` (empty: as it is)."""

    a: Image
    b: Image
    kind: str  # "exact": the same pixels; "near": the same picture
    similarity: float  # correlation of details, 1.0 for exact
    transform: str = ""


def find_duplicates(survey: Survey) -> list[DuplicatePair]:
    """Every exact copy with the first of its kind, then the near-duplicates among those firsts."""
    _, first, of = np.unique(survey.sha256, return_index=True, return_inverse=True)
    firsts = np.sort(first)
    exact = [
        DuplicatePair(survey.images[first[of[row]]], image, "exact", 1.0)
        for row, image in enumerate(survey.images)
        if first[of[row]] != row
    ]
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for a, b, similarity, transform in _near(survey.thumbs[firsts]):
        if similarity > best.get((a, b), (0.0, 0))[0]:
            best[a, b] = (similarity, transform)
    images = [survey.images[row] for row in firsts]
    return exact + [
        DuplicatePair(images[a], images[b], "near", round(similarity, 3), TRANSFORMS[transform])
        for (a, b), (similarity, transform) in sorted(best.items())
    ]


def connected_groups(images: Sequence[Image], pairs: Iterable[DuplicatePair]) -> np.ndarray:
    """A number per image, equal where a chain of pairs joins two; pairs with other images do not count."""
    row = {image: number for number, image in enumerate(images)}
    links = [(row[pair.a], row[pair.b]) for pair in pairs if pair.a in row and pair.b in row]
    a, b = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(images), len(images)))
    return connected_components(graph, directed=False)[1]


def group_ids(images: Sequence[Image], pairs: Iterable[DuplicatePair]) -> dict[str, str]:
    """Each image id with its group: the smallest id among its copies. A split keeps a group in one fold."""
    smallest: dict[int, str] = {}
    numbers = connected_groups(images, pairs)
    for image, number in zip(images, numbers, strict=True):
        smallest[number] = min(image.id, smallest.get(number, image.id))
    return {image.id: smallest[number] for image, number in zip(images, numbers, strict=True)}


def _near(thumbs: np.ndarray) -> Iterator[tuple[int, int, float, int]]:
    """(a, b, similarity, transform) of every candidate pair whose colour details agree; a < b."""
    for a, b, transform in _candidates(thumbs):
        for start in range(0, len(a), BLOCK_PAIRS):
            left, right = a[start : start + BLOCK_PAIRS], b[start : start + BLOCK_PAIRS]
            turned = _transformed(thumbs[left], transform)
            similarity = (_detail(turned, box=5) * _detail(thumbs[right], box=5)).sum(1)
            for row in np.flatnonzero(similarity >= NEAR_THRESHOLD):
                yield int(left[row]), int(right[row]), float(similarity[row]), transform


def _candidates(thumbs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Rows a < b that look alike in 16 px grey under a transform, by one matrix product per block of rows."""
    grey = (thumbs @ np.float32([0.299, 0.587, 0.114])).reshape(-1, 16, 2, 16, 2).mean((2, 4))
    every = _detail(grey, box=3)
    for start in range(0, len(grey), BLOCK_ROWS):
        block = grey[start : start + BLOCK_ROWS]
        for transform in range(len(TRANSFORMS)):
            alike = _detail(_transformed(block, transform), box=3) @ every[start:].T >= CANDIDATE_THRESHOLD
            a, b = np.nonzero(alike)
            later = b > a
            yield a[later] + start, b[later] + start, transform


def _detail(pictures: np.ndarray, box: int) -> np.ndarray:
    """Pictures minus their blur, as vectors of length 1; flat ones become 0 and resemble nothing."""
    pictures = pictures.astype(np.float32)
    blur = uniform_filter(pictures, size=(1, box, box, 1)[: pictures.ndim])
    inner = slice(box // 2, -(box // 2))  # the rim is left out: a blur has nothing to go by beyond the edge
    detail = (pictures - blur)[:, inner, inner]
    detail = detail.reshape(len(detail), np.prod(detail.shape[1:]))
    detail -= detail.mean(1, keepdims=True)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    flat = length < MIN_DETAIL * np.sqrt(detail.shape[1])
    return np.where(flat, 0, detail / np.where(flat, 1, length))


def _transformed(pictures: np.ndarray, transform: int) -> np.ndarray:
    """A stack of squares under the transform of that number: mirrored from 4 on, then quarter turns."""
    mirrored = pictures[:, :, ::-1] if transform >= 4 else pictures
    return np.rot90(mirrored, -(transform % 4), axes=(1, 2))
