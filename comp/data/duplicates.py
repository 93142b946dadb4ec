"""Find duplicate images: identical pixels, or rotated, mirrored, re-encoded, resized or brightened copies.

An image's *detail* is the image minus its own blur. Blurred, all cells in the middle of a pale slide look alike; in
their detail only copies do. Two images are near-duplicates if the details of their 32 px thumbnails correlate at
NEAR_THRESHOLD or more under one of the eight rotations and reflections of a square.

Measured on 4,200 blood-cell images (correlation of details):
  different images  8.8 million pairs, 8 transforms each: the closest reaches 0.698
  copies            of 420 images, the worst: JPEG quality 50 0.994, quality 20 0.978, half size 0.997,
                    20% darker 0.999, 5% brighter 0.987, 10% brighter 0.944 (white clips: 1 in 420 is missed),
                    rotated + mirrored + 10% darker + half size + quality 50 0.981;
                    all 420 are found, the worst at 0.988, under a random rotation or reflection, 0.5 to 1.5 times the
                    size, 85 to 105% of the brightness, quality 40 to 89; and no pair of different images with them
Colour noise is lost in a JPEG, and so are copies of noisy small images. Of 100 cells at 64 px with noise of 10, 20 and
30 grey levels in each channel, saved at quality 90, then turned and saved at 50 to 89, 97, 32 and 4 are found; at 96 px
100, 98 and 60. Grey noise costs one copy at most.
A crop is found only if it is small: 1% off each side gives a median of 0.964 (worst 0.936), 3% a median of 0.80.
NEAR_THRESHOLD is high because very small images are alike without being copies: the 1,797 digits of scikit-learn
(8x8 pixels) have 378 pairs above 0.90, 6 above 0.95, none above 0.97.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comp.data.image_stats import Survey
from comp.data.scan import Image
from comp.progress_bar import progress_bar

NEAR_THRESHOLD = 0.95  # chosen by the measurements in the module's docstring
# Details of 16 px grey images choose the few pairs that are compared in colour. There the worst of the same copies is
# at 0.997, and the closest pair of different blood cells at 0.795.
CANDIDATE_THRESHOLD = 0.95
MIN_DETAIL = 1.0  # grey levels of detail (rms); rounding alone makes 0.3, the flattest blood cell has 8.5
KEY_NUMBERS = 64  # of 224: of 4,200 blood cells 251 pairs are compared in vain, with all 224 none
KEY_ROUNDING = 1e-4  # far above the error of 32-bit products
BLOCK_ROWS, BLOCK_COLUMNS = 512, 4096  # images compared with each other at once: 8 MB
BLOCK_PAIRS = 2048  # pairs compared in colour at once: 40 MB of details
PIXELS = np.arange(14 * 14).reshape(1, 14, 14)  # of the details of 16 px images
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
    """Two images with the same content: `b` is `a` after `transform` (empty for no transform)."""

    a: Image
    b: Image
    kind: Literal["exact", "near"]  # the same pixels, or the same image in another form
    similarity: float  # correlation of details, 1.0 for exact
    transform: str = ""


def find_duplicates(survey: Survey) -> list[DuplicatePair]:
    """Return each exact copy paired with the first image of its pixels, then near-duplicates among these first images.

    The pairs are not closed under chains; `connected_groups` joins them.
    """
    _, first_rows, group = np.unique(survey.sha256, return_index=True, return_inverse=True)
    exact = [
        DuplicatePair(survey.images[first_rows[group[row]]], image, "exact", 1.0)
        for row, image in enumerate(survey.images)
        if first_rows[group[row]] != row
    ]
    unique_rows = np.sort(first_rows)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for a, b, similarity, transform in _near_pairs(survey.thumbnails[unique_rows]):
        if similarity > best.get((a, b), (0.0, 0))[0]:
            best[a, b] = (similarity, transform)
    images = [survey.images[row] for row in unique_rows]
    return exact + [
        DuplicatePair(images[a], images[b], "near", round(similarity, 3), TRANSFORMS[transform])
        for (a, b), (similarity, transform) in sorted(best.items())
    ]


def connected_groups(images: Sequence[Image], pairs: Iterable[DuplicatePair]) -> np.ndarray:
    """Return the index of each image's connected component, in the graph whose edges are `pairs`.

    Pairs with an image that is not in `images` are ignored.
    """
    rows = {image: row for row, image in enumerate(images)}
    links = [(rows[pair.a], rows[pair.b]) for pair in pairs if pair.a in rows and pair.b in rows]
    a, b = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(images), len(images)))
    return connected_components(graph, directed=False)[1]


def group_ids(images: Sequence[Image], pairs: Iterable[DuplicatePair]) -> dict[str, str]:
    """Return the group of each image id: the smallest id among its copies. A split keeps a group in one fold."""
    smallest: dict[int, str] = {}
    groups = connected_groups(images, pairs).tolist()
    for image, group in zip(images, groups, strict=True):
        smallest[group] = min(image.id, smallest.get(group, image.id))
    return {image.id: smallest[group] for image, group in zip(images, groups, strict=True)}


def _near_pairs(thumbnails: np.ndarray) -> Iterator[tuple[int, int, float, int]]:
    """Yield (a, b, similarity, transform) for each candidate pair whose colour details agree; a < b."""
    for a, b, transform in _candidate_pairs(thumbnails):
        for start in range(0, len(a), BLOCK_PAIRS):
            left, right = a[start : start + BLOCK_PAIRS], b[start : start + BLOCK_PAIRS]
            transformed = _transform(thumbnails[left], transform)
            similarity = (_detail(transformed, box=5) * _detail(thumbnails[right], box=5)).sum(1)
            for row in np.flatnonzero(similarity >= NEAR_THRESHOLD):
                yield int(left[row]), int(right[row]), float(similarity[row]), transform


def _candidate_pairs(thumbnails: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield the rows a < b that are similar in 16 px grey under a transform."""
    starts = range(0, len(thumbnails), BLOCK_ROWS)
    blocks = [_grey_details(thumbnails[start : start + BLOCK_ROWS]) for start in starts]
    details = np.concatenate(blocks) if blocks else np.empty((0, PIXELS.size), np.float32)
    for a, b in _pairs_of_close_keys(details):
        for transform in range(len(TRANSFORMS)):
            turned = _transform(PIXELS, transform).ravel()
            similarity = np.einsum("ij,ij->i", details[a][:, turned], details[b])
            is_similar = similarity >= CANDIDATE_THRESHOLD
            yield a[is_similar], b[is_similar], transform


def _grey_details(thumbnails: np.ndarray) -> np.ndarray:
    """Return the details of 16 px grey images, a row of pixels per image."""
    grey = (thumbnails @ np.array([0.299, 0.587, 0.114], np.float32)).reshape(-1, 16, 2, 16, 2).mean((2, 4))
    return _detail(grey, box=3)


def _pairs_of_close_keys(details: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows a < b whose keys are as close as those of copies must be, by one matrix product per block.

    -|p - q|^2 / 2 is the product of (p, -|p|^2 / 2, 1) and (q, 1, -|q|^2 / 2).
    """
    rows = np.flatnonzero(details.any(1))  # flat images resemble nothing
    keys = _invariant_keys(details[rows])
    halves, ones = (keys**2).sum(1, keepdims=True) / 2, np.ones((len(keys), 1), np.float32)
    left, right = np.hstack([keys, -halves, ones]), np.hstack([keys, ones, -halves])
    for start in progress_bar(range(0, len(rows), BLOCK_ROWS), "comparing images"):
        block = left[start : start + BLOCK_ROWS]
        for other in range(start, len(rows), BLOCK_COLUMNS):
            closeness = block @ right[other : other + BLOCK_COLUMNS].T
            a, b = np.nonzero(closeness >= CANDIDATE_THRESHOLD - 1 - KEY_ROUNDING)
            a, b = a + start, b + other
            for first in range(0, len(a), BLOCK_PAIRS):
                of_block = slice(first, first + BLOCK_PAIRS)
                ordered = b[of_block] > a[of_block]
                yield rows[a[of_block][ordered]], rows[b[of_block][ordered]]


def _invariant_keys(details: np.ndarray) -> np.ndarray:
    """Return a key per image (images, KEY_NUMBERS at most) that no transform changes.

    A transform permutes the pixels of each orbit: the four or eight places that one pixel can get to. Therefore the
    sorted values of all orbits are invariant. Sorting, and the projection to the directions in which the keys differ
    most, bring vectors closer together and never farther apart. So details that correlate at c under some transform
    have keys whose squared distance is at most 2 - 2c, and no pair is lost.
    """
    turned = np.stack([_transform(PIXELS, transform).ravel() for transform in range(len(TRANSFORMS))], axis=1)
    orbits = np.unique(np.sort(turned, axis=1), axis=0)  # a place on a diagonal or in the middle is there twice
    weights = np.sqrt([len(set(orbit)) / len(orbit) for orbit in orbits.tolist()]).astype(np.float32)
    keys = np.empty((len(details), orbits.size), np.float32)
    for start in range(0, len(details), BLOCK_ROWS):
        values = np.sort(details[start : start + BLOCK_ROWS, orbits], axis=2) * weights[:, None]
        keys[start : start + BLOCK_ROWS] = values.reshape(len(values), -1)
    keys -= keys.mean(0) if len(keys) else 0
    directions = np.linalg.eigh(keys.T @ keys)[1][:, -KEY_NUMBERS:]  # the last are those of the largest variance
    return keys @ directions


def _detail(images: np.ndarray, box: int) -> np.ndarray:
    """Return the images minus their blur as vectors of length 1; a flat image gives 0, which resembles nothing."""
    images = images.astype(np.float32)
    blur = uniform_filter(images, size=(1, box, box, 1)[: images.ndim])
    inner = slice(box // 2, -(box // 2))  # without the border, where the blur lacks pixels beyond the edge
    detail = (images - blur)[:, inner, inner]
    detail = detail.reshape(len(detail), np.prod(detail.shape[1:]))
    detail -= detail.mean(1, keepdims=True)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    is_flat = length < MIN_DETAIL * np.sqrt(detail.shape[1])
    return np.where(is_flat, 0, detail / np.where(is_flat, 1, length))


def _transform(images: np.ndarray, transform: int) -> np.ndarray:
    """Apply TRANSFORMS[transform] to a stack of squares: mirrored from 4 on, then quarter turns."""
    mirrored = images[:, :, ::-1] if transform >= 4 else images
    return np.rot90(mirrored, -(transform % 4), axes=(1, 2))
