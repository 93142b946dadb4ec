"""What a policy does to each image of a batch, drawn: numbers only, for `batch_augment.py` to carry out.

A sample's draws come from a row of uniform numbers, found by (seed, fold, epoch, place in the epoch) alone, so neither
the batch it falls into nor the device nor the number of processes changes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from comp.batches.policies import AugmentPolicy

UniformSampler = Callable[
    [float, float], np.ndarray
]  # the next uniform number of every sample, from the first to the second
COLUMNS = 64  # uniform numbers per sample: every policy reads the same ones
LUMA = np.array([0.299, 0.587, 0.114])
ELASTIC, GRID = 1, 2


@dataclass(frozen=True)
class SampledTransforms:
    """What happens to each of n images. Places are given from -1 to 1, the edges of the square."""

    matrix: np.ndarray  # (n, 2, 3): where a place of the result lies in the square
    bend: np.ndarray  # (n,): 0, ELASTIC or GRID
    window: np.ndarray  # (n, 2): where the elastic field is entered, from 0 to 1
    lines: np.ndarray  # (n, 2, cells + 1): where the lines of an even grid go
    spread: np.ndarray  # (n, 3, 3): of a pixel's difference from the image's mean colour
    level: np.ndarray  # (n, 3, 3): of that mean
    sigma: np.ndarray  # (n,): of the blur; 0 is none
    reach: np.ndarray  # (n,): pixels from its middle to its end
    noise: np.ndarray  # (n,): standard deviation in grey levels
    start: np.ndarray  # (n,): where the row of noise is entered, from 0 to 1
    holes: np.ndarray  # (n, pieces, 4): top, left, bottom, right in pixels of the result

    def of(self, chosen: np.ndarray) -> SampledTransforms:
        return SampledTransforms(*(getattr(self, part.name)[chosen] for part in fields(self)))

    def replaced(self, where: np.ndarray, other: SampledTransforms) -> SampledTransforms:
        """Those of `other` where it says so."""
        return SampledTransforms(
            *(
                np.where(where.reshape(-1, *[1] * (mine.ndim - 1)), theirs, mine)
                for mine, theirs in ((getattr(self, part.name), getattr(other, part.name)) for part in fields(self))
            )
        )


def uniform_rows(stream: tuple[int, int], epoch: int, places: Sequence[int]) -> np.ndarray:
    """A row for each place in the epoch, entered where it begins: 0.1 ms for 32."""
    # five words: numpy reads a missing word as zero, and no other draw of an epoch has more than four
    bits = np.random.PCG64([*stream, epoch, 0, 2]).advance(min(places) * COLUMNS)
    rows = np.random.Generator(bits).random((max(places) + 1 - min(places), COLUMNS))
    return rows[np.asarray(places) - min(places)]


def sample_transforms(recipe: AugmentPolicy, rows: np.ndarray, size: int) -> SampledTransforms:
    column, n = iter(rows.T), len(rows)

    def between(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(column)

    matrix = _geometry(recipe, n, between)
    bend = np.where(next(column) < recipe.bend, np.where(next(column) < 0.5, ELASTIC, GRID), 0)
    window = np.stack([next(column), next(column)], 1)
    cells, limit = recipe.grid
    widths = np.stack([between(1 - limit, 1 + limit) for _ in range(2 * cells)], 1).reshape(n, 2, cells).cumsum(2)
    lines = np.pad(widths / widths[..., -1:], [(0, 0), (0, 0), (1, 0)]) * 2 - 1
    spread, level = _colour(recipe, n, between)
    grain, blurred = next(column) < recipe.grain, next(column) < 0.5
    reach, sigma = 1 + (next(column) < 0.5), np.where(grain & blurred, between(*recipe.blur), 0)
    noise, start = np.where(grain & ~blurred, 255 * between(*recipe.noise), 0), next(column)
    return SampledTransforms(
        matrix, bend, window, lines, spread, level, sigma, reach, noise, start, _holes(recipe, size, between)
    )


def _geometry(recipe: AugmentPolicy, n: int, between: UniformSampler) -> np.ndarray:
    """Forwards: a window is cut out and enlarged; then zoom, turn, shear, shift; then one of the views. So backwards,
    from the result to the square, in the other order."""
    moved = between(0, 1) < recipe.move
    turn = np.radians(between(-recipe.turn, recipe.turn)) * moved
    shear_x, shear_y = (np.tan(np.radians(between(-recipe.shear, recipe.shear))) * moved for _ in range(2))
    zoom = np.where(moved, between(1 - recipe.zoom, 1 + recipe.zoom), 1)
    shift = np.stack([between(-2 * recipe.shift, 2 * recipe.shift) for _ in range(2)], 1) * moved[:, None]
    one = np.ones(n)
    forward = (
        _matrices([[one, shear_x], [shear_y, one]])
        @ _matrices([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        * zoom[:, None, None]
    )
    side = np.sqrt(between(recipe.window, 1))
    corner = np.stack([between(-1, 1), between(-1, 1)], 1) * (1 - side)[:, None]
    back = np.linalg.inv(forward) * side[:, None, None]
    across, down, swapped = (np.where(between(0, 1) < 0.5, other, same) for other, same in ((-1, 1), (-1, 1), (1, 0)))
    if recipe.views == "one":
        across, down = one, one
    if recipe.views != "d4":
        swapped = 0 * one
    view = _matrices([[across * (1 - swapped), across * swapped], [down * swapped, down * (1 - swapped)]])
    return np.concatenate([back @ view, corner[..., None] - back @ shift[..., None]], 2)


def _colour(recipe: AugmentPolicy, n: int, between: UniformSampler) -> tuple[np.ndarray, np.ndarray]:
    """Hue, then saturation, contrast and brightness. Contrast draws a pixel towards the grey of the image's mean
    colour: it scales what a pixel differs from that mean, and is to the mean itself what saturation is to a pixel."""
    brightness, contrast, saturation = (between(1 - recipe.colour, 1 + recipe.colour)[:, None, None] for _ in range(3))
    hue = between(-recipe.hue, recipe.hue)[:, None, None] * (2 * math.pi if recipe.colour else 0)
    same, grey = np.eye(3), np.broadcast_to(LUMA, (3, 3))
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turned = same + np.sin(hue) * axis + (1 - np.cos(hue)) * (axis @ axis)
    saturated = (saturation * same + (1 - saturation) * grey) @ turned
    return brightness * contrast * saturated, brightness * (contrast * same + (1 - contrast) * grey) @ saturated


def _holes(recipe: AugmentPolicy, size: int, between: UniformSampler) -> np.ndarray:
    (fewest, most), holed = recipe.pieces, between(0, 1) < recipe.holes
    count = np.where(holed, np.floor(between(fewest, most + 1)), 0)
    pieces = []
    for number in range(most):
        height, width = (np.floor(size * between(*recipe.piece)) for _ in range(2))
        top, left = np.floor(between(0, 1) * (size - height + 1)), np.floor(between(0, 1) * (size - width + 1))
        pieces.append(np.stack([top, left, top + height, left + width], 1) * (number < count)[:, None])
    return np.stack(pieces, 1)


def _matrices(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.moveaxis(np.array(rows, dtype=float), 2, 0)
