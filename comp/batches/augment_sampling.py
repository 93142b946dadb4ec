"""Sample the transforms of each image in a batch: numbers only, which `augment_batch.py` applies.

The transforms of an image come from a row of uniform numbers that depends on (seed, fold, epoch, position in the
epoch) alone, so that the batch, the device and the number of processes do not change them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from comp.batches.policies import AugmentPolicy

UniformSampler = Callable[[float, float], np.ndarray]  # uniform(low, high): the next uniform number of every image
COLUMNS = 64  # uniform numbers per image; every policy reads the same number for the same purpose
LUMA = np.array([0.299, 0.587, 0.114])
ELASTIC, GRID = 1, 2


@dataclass(frozen=True)
class SampledTransforms:
    """The transforms of n images. Coordinates are from -1 to 1, the edges of the square."""

    matrix: np.ndarray  # (n, 2, 3): maps a point of the result to the square
    distortion: np.ndarray  # (n,): 0, ELASTIC or GRID
    field_offset: np.ndarray  # (n, 2): where the elastic displacement is cut from the large field, from 0 to 1
    grid_lines: np.ndarray  # (n, 2, cells + 1): where the lines of a regular grid are moved to
    colour_matrix: np.ndarray  # (n, 3, 3): applied to a pixel's difference from the image's mean colour
    mean_matrix: np.ndarray  # (n, 3, 3): applied to the mean colour
    blur_sigma: np.ndarray  # (n,): standard deviation of the blur kernel in pixels; 0 for no blur
    blur_radius: np.ndarray  # (n,): of the blur kernel, in pixels
    noise_std: np.ndarray  # (n,): standard deviation in grey levels
    noise_offset: np.ndarray  # (n,): where the noise is cut from the long row, from 0 to 1
    holes: np.ndarray  # (n, holes, 4): top, left, bottom, right in pixels of the result

    def select(self, rows: np.ndarray) -> SampledTransforms:
        """Return the transforms of some images, given by a mask or by indices."""
        return SampledTransforms(*(getattr(self, field.name)[rows] for field in fields(self)))

    def merge(self, mask: np.ndarray, other: SampledTransforms) -> SampledTransforms:
        """Return the transforms of `other` for images where `mask` is true, and of `self` elsewhere."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return SampledTransforms(*(np.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old) for old, new in pairs))


def uniform_rows(rng_key: tuple[int, int], epoch: int, positions: Sequence[int], view: int = 0) -> np.ndarray:
    """Return one row of uniform numbers per position in the epoch and view, by jumping ahead in the generator.

    It takes 0.1 ms for 32 rows.
    """
    # A key of five numbers: numpy reads a missing number as zero, and the other keys of an epoch have at most four.
    bits = np.random.PCG64([*rng_key, epoch, 0, 2 + view]).advance(min(positions) * COLUMNS)
    rows = np.random.Generator(bits).random((max(positions) + 1 - min(positions), COLUMNS))
    return rows[np.asarray(positions) - min(positions)]


def sample_transforms(policy: AugmentPolicy, rows: np.ndarray, size: int) -> SampledTransforms:
    """Turn rows of uniform numbers into the transforms of a policy, for images of `size` pixels.

    The order in which the functions below read the columns of `rows` is part of every training: it must not change.
    """
    column, n = iter(rows.T), len(rows)

    def uniform(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(column)

    matrix = _sample_matrix(policy, n, uniform)
    distortion = np.where(next(column) < policy.distort_prob, np.where(next(column) < 0.5, ELASTIC, GRID), 0)
    field_offset = np.stack([next(column), next(column)], 1)
    cells, limit = policy.grid_distortion
    widths = np.stack([uniform(1 - limit, 1 + limit) for _ in range(2 * cells)], 1).reshape(n, 2, cells).cumsum(2)
    grid_lines = np.pad(widths / widths[..., -1:], [(0, 0), (0, 0), (1, 0)]) * 2 - 1
    colour_matrix, mean_matrix = _sample_colour(policy, uniform)
    blur_or_noise, is_blur = next(column) < policy.blur_or_noise_prob, next(column) < 0.5
    blur_radius = 1 + (next(column) < 0.5)
    blur_sigma = np.where(blur_or_noise & is_blur, uniform(*policy.blur_sigma), 0)
    noise_std = np.where(blur_or_noise & ~is_blur, 255 * uniform(*policy.noise_std), 0)
    noise_offset = next(column)
    return SampledTransforms(
        matrix,
        distortion,
        field_offset,
        grid_lines,
        colour_matrix,
        mean_matrix,
        blur_sigma,
        blur_radius,
        noise_std,
        noise_offset,
        _sample_holes(policy, size, uniform),
    )


def _sample_matrix(policy: AugmentPolicy, n: int, uniform: UniformSampler) -> np.ndarray:
    """Sample crop, affine map and symmetry as one matrix (n, 2, 3) from the result back to the square.

    Forwards, a crop is enlarged; then come scale, rotation, shear and translation; then the symmetry. The matrix maps
    backwards, so it applies their inverses in the opposite order.
    """
    is_affine = uniform(0, 1) < policy.affine_prob
    angle = np.radians(uniform(-policy.rotate_degrees, policy.rotate_degrees)) * is_affine
    shear_x, shear_y = (
        np.tan(np.radians(uniform(-policy.shear_degrees, policy.shear_degrees))) * is_affine for _ in range(2)
    )
    scale = np.where(is_affine, uniform(1 - policy.scale, 1 + policy.scale), 1)
    translation = np.stack([uniform(-2 * policy.translate, 2 * policy.translate) for _ in range(2)], 1)
    translation = translation * is_affine[:, None]
    ones = np.ones(n)
    forward = (
        _matrices([[ones, shear_x], [shear_y, ones]])
        @ _matrices([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        * scale[:, None, None]
    )
    crop_side = np.sqrt(uniform(policy.min_crop_area, 1))
    crop_centre = np.stack([uniform(-1, 1), uniform(-1, 1)], 1) * (1 - crop_side)[:, None]
    backward = np.linalg.inv(forward) * crop_side[:, None, None]
    symmetry = _sample_symmetry(policy, ones, uniform)
    return np.concatenate([backward @ symmetry, crop_centre[..., None] - backward @ translation[..., None]], 2)


def _sample_symmetry(policy: AugmentPolicy, ones: np.ndarray, uniform: UniformSampler) -> np.ndarray:
    """Sample flips, and for `d4` a swap of the axes, as matrices (n, 2, 2)."""
    flip_x, flip_y, swap = (
        np.where(uniform(0, 1) < 0.5, changed, same) for changed, same in ((-1, 1), (-1, 1), (1, 0))
    )
    if policy.symmetry == "one":
        flip_x, flip_y = ones, ones
    if policy.symmetry != "d4":
        swap = 0 * ones
    return _matrices([[flip_x * (1 - swap), flip_x * swap], [flip_y * swap, flip_y * (1 - swap)]])


def _sample_colour(policy: AugmentPolicy, uniform: UniformSampler) -> tuple[np.ndarray, np.ndarray]:
    """Sample hue, saturation, contrast and brightness, applied in this order, as (colour_matrix, mean_matrix).

    Contrast moves a pixel towards the grey of the image's mean colour. It scales the difference of a pixel from that
    mean, and it acts on the mean itself as saturation acts on a pixel.
    """
    low, high = 1 - policy.colour_jitter, 1 + policy.colour_jitter
    brightness, contrast, saturation = (uniform(low, high)[:, None, None] for _ in range(3))
    hue = uniform(-policy.hue, policy.hue)[:, None, None] * (2 * math.pi if policy.colour_jitter else 0)
    identity, grey = np.eye(3), np.broadcast_to(LUMA, (3, 3))
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation = identity + np.sin(hue) * axis + (1 - np.cos(hue)) * (axis @ axis)
    saturated = (saturation * identity + (1 - saturation) * grey) @ rotation
    mean_matrix = brightness * (contrast * identity + (1 - contrast) * grey) @ saturated
    return brightness * contrast * saturated, mean_matrix


def _sample_holes(policy: AugmentPolicy, size: int, uniform: UniformSampler) -> np.ndarray:
    """Sample the rectangles to cut out, (n, holes, 4); an empty rectangle is all zeros."""
    (min_count, max_count), has_holes = policy.cutout_count, uniform(0, 1) < policy.cutout_prob
    count = np.where(has_holes, np.floor(uniform(min_count, max_count + 1)), 0)
    holes = []
    for index in range(max_count):
        height, width = (np.floor(size * uniform(*policy.cutout_size)) for _ in range(2))
        top, left = np.floor(uniform(0, 1) * (size - height + 1)), np.floor(uniform(0, 1) * (size - width + 1))
        holes.append(np.stack([top, left, top + height, left + width], 1) * (index < count)[:, None])
    return np.stack(holes, 1)


def _matrices(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Stack a matrix of arrays (n,) to n matrices."""
    return np.moveaxis(np.array(rows, dtype=float), 2, 0)
