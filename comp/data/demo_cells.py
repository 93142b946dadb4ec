"""Draw stylised blood cells, for a competition without real data (see demo.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.random import Generator

Range = tuple[float, float]
Colour = tuple[int, int, int]  # red, green, blue

WIDTH, HEIGHT = 360, 363
BACKGROUND = (243, 230, 224)
RED_CELL = (226, 160, 152)


def _centre(mask: np.ndarray) -> np.ndarray:
    return np.array(mask.shape[::-1]) / 2


def _polar(distance: float | np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    """Return the points at `distance` from the origin in the direction `angle`, a row per point."""
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1)


def _fixed_point(lengths: np.ndarray) -> np.ndarray:
    """Convert lengths to the fixed point numbers that cv2 expects with shift=4, to draw between pixels."""
    return (lengths * 16).astype(np.int32)


def _draw_blob(
    mask: np.ndarray, centre: np.ndarray, radius: float, rng: Generator, wobble: float = 0.06, value: int = 255
) -> None:
    """Fill a disc whose outline is bent by a few random waves."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    outline_radius = np.ones_like(angle)
    for waves in (2, 3, 4, 5):
        outline_radius += rng.normal(0, 2 * wobble / waves) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    outline = centre + _polar(radius * outline_radius, angle)
    cv2.fillPoly(mask, [_fixed_point(outline)], value, cv2.LINE_AA, shift=4)


def _draw_round_nucleus(mask: np.ndarray, radius: float, rng: Generator, size: Range, dent_prob: float = 0.0) -> None:
    """Draw a round or oval nucleus, off-centre if it is small; with `dent_prob` a piece of it is cut out."""
    nucleus_radius = radius * rng.uniform(*size)
    direction = _polar(1.0, rng.uniform(0, 2 * np.pi))
    centre = _centre(mask) + direction * (radius - nucleus_radius) * rng.uniform(0, 0.6)
    _draw_blob(mask, centre, nucleus_radius, rng)
    if rng.random() < dent_prob:
        dent_centre = centre - direction * nucleus_radius * 1.15
        _draw_blob(mask, dent_centre, nucleus_radius * rng.uniform(0.3, 0.55), rng, value=0)


def _draw_beaded_nucleus(
    mask: np.ndarray, radius: float, rng: Generator, beads: tuple[int, int], step: Range, size: Range
) -> None:
    """Draw beads along an arc: far apart they are lobes on a thread, close together a horseshoe."""
    count = rng.integers(*beads, endpoint=True)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(*step, count))
    centres = _polar(radius * rng.uniform(0.41, 0.51, count), angle)
    centres += _centre(mask) - centres.mean(axis=0) * 0.6
    cv2.polylines(mask, [_fixed_point(centres)], False, 255, round(radius * 0.1), cv2.LINE_AA, shift=4)
    for centre in centres:
        _draw_blob(mask, centre, radius * rng.uniform(*size), rng, wobble=0.1)


@dataclass(frozen=True)
class CellType:
    """The appearance of a kind of cell. Lengths are in pixels, nucleus sizes in cell radii."""

    radius: Range
    cytoplasm: Colour
    nucleus: Callable[[np.ndarray, float, Generator], None] | None = None
    chromatin: Colour = (96, 56, 132)
    texture: float = 0.08  # contrast of the chromatin's texture
    granules: tuple[int, int] = (0, 0)
    granule_colour: Colour = (255, 255, 255)
    granule_radius: Range = (1, 2)
    nucleus_cover: float = 0.0  # how strongly granules over the nucleus hide it
    cells: tuple[int, int] = (1, 1)


# In the order of the class numbers.
CELL_TYPES = {
    "basophil": CellType(
        radius=(62, 84),
        cytoplasm=(214, 190, 214),
        chromatin=(118, 82, 150),
        nucleus=partial(_draw_beaded_nucleus, beads=(2, 3), step=(1.2, 1.9), size=(0.36, 0.44)),
        granules=(110, 190),
        granule_colour=(62, 44, 104),
        granule_radius=(3.5, 6.0),
        nucleus_cover=0.9,
    ),
    "eosinophil": CellType(
        radius=(66, 90),
        cytoplasm=(236, 196, 190),
        chromatin=(104, 64, 138),
        nucleus=partial(_draw_beaded_nucleus, beads=(2, 2), step=(1.9, 2.4), size=(0.32, 0.40)),
        granules=(300, 440),
        granule_colour=(212, 112, 92),
        granule_radius=(3.0, 4.5),
        nucleus_cover=0.15,
    ),
    "erythroblast": CellType(
        radius=(46, 66),
        cytoplasm=(196, 176, 196),
        chromatin=(74, 42, 104),
        texture=0.05,
        nucleus=partial(_draw_round_nucleus, size=(0.5, 0.64)),
    ),
    "ig": CellType(
        radius=(74, 102),
        cytoplasm=(198, 178, 212),
        chromatin=(134, 86, 160),
        texture=0.10,
        nucleus=partial(_draw_round_nucleus, size=(0.62, 0.74), dent_prob=0.4),
        granules=(90, 200),
        granule_colour=(138, 78, 150),
        granule_radius=(1.2, 2.4),
        nucleus_cover=0.5,
    ),
    "lymphocyte": CellType(
        radius=(50, 74),
        cytoplasm=(172, 190, 226),
        chromatin=(98, 58, 136),
        nucleus=partial(_draw_round_nucleus, size=(0.80, 0.90), dent_prob=0.2),
    ),
    "monocyte": CellType(
        radius=(78, 104),
        cytoplasm=(184, 182, 206),
        chromatin=(132, 98, 164),
        texture=0.16,
        nucleus=partial(_draw_beaded_nucleus, beads=(7, 10), step=(0.30, 0.42), size=(0.28, 0.36)),
        granules=(0, 9),
        granule_colour=(226, 220, 232),
        granule_radius=(2.5, 5.5),
    ),
    "neutrophil": CellType(
        radius=(64, 90),
        cytoplasm=(234, 206, 214),
        nucleus=partial(_draw_beaded_nucleus, beads=(3, 5), step=(0.8, 1.35), size=(0.21, 0.28)),
        granules=(150, 300),
        granule_colour=(206, 156, 184),
        granule_radius=(1.0, 2.0),
    ),
    "platelet": CellType(
        radius=(13, 22),
        cytoplasm=(190, 162, 200),
        cells=(1, 3),
        granules=(12, 26),
        granule_colour=(132, 82, 150),
        granule_radius=(1.5, 3.0),
    ),
}


def _smooth_noise(rng: Generator, shape: tuple[int, ...], feature_size: float) -> np.ndarray:
    """Return a smooth random field whose features are about `feature_size` pixels wide."""
    height, width = shape
    coarse_shape = int(height / feature_size) + 2, int(width / feature_size) + 2
    coarse = rng.standard_normal(coarse_shape, dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: np.ndarray, texture: np.ndarray, blur_sigma: float) -> None:
    """Paint `colour`, made lighter and darker by `texture`, where the blurred `mask` covers the canvas."""
    cover = cv2.GaussianBlur(mask, (0, 0), blur_sigma)[..., None] / np.float32(255)
    canvas += cover * (colour * (1 + texture[..., None]) - canvas)


def _jitter_colour(colour: Colour, rng: Generator, std: float) -> np.ndarray:
    """Return a slightly lighter or darker colour with a slightly different hue."""
    shift = rng.normal(0, std) + rng.normal(0, 0.6 * std, 3)
    return np.clip(colour + shift, 20, 250).astype(np.float32)


def _granule_mask(cell_type: CellType, shape: tuple[int, ...], radius: float, rng: Generator) -> np.ndarray:
    """Return a mask of random granules within `radius` of the cell's centre."""
    mask = np.zeros(shape, np.uint8)
    count = rng.integers(*cell_type.granules, endpoint=True)
    # The square root spreads granules evenly over the disc; without it they crowd in its centre.
    distances = radius * np.sqrt(rng.uniform(0, 0.92, count))
    centres = _fixed_point(_centre(mask) + _polar(distances, rng.uniform(0, 2 * np.pi, count)))
    sizes = _fixed_point(rng.uniform(*cell_type.granule_radius, count))
    strengths = rng.integers(110, 256, count)
    for centre, size, strength in zip(centres.tolist(), sizes.tolist(), strengths.tolist(), strict=True):
        cv2.circle(mask, centre, size, strength, -1, cv2.LINE_AA, shift=4)
    return mask


def _draw_cell(canvas: np.ndarray, cell_type: CellType, centre: np.ndarray, rng: Generator) -> None:
    """Paint cytoplasm, nucleus and granules, in this order. The cell must be wholly on the canvas."""
    radius = rng.uniform(*cell_type.radius)
    half = int(radius * 1.3)
    left, top = (centre.astype(np.int32) - half).tolist()
    patch = canvas[top : top + 2 * half, left : left + 2 * half]
    shape = patch.shape[:2]

    body = np.zeros(shape, np.uint8)
    _draw_blob(body, _centre(body), radius, rng)
    _paint(patch, body, _jitter_colour(cell_type.cytoplasm, rng, 11), 0.03 * _smooth_noise(rng, shape, 8), blur_sigma=2)

    nucleus = np.zeros(shape, np.uint8)
    if cell_type.nucleus:
        cell_type.nucleus(nucleus, radius, rng)
        nucleus = np.minimum(nucleus, body)
        texture = cell_type.texture * _smooth_noise(rng, shape, 6)
        _paint(patch, nucleus, _jitter_colour(cell_type.chromatin, rng, 11), texture, blur_sigma=1.3)

    visible = body - (1 - cell_type.nucleus_cover) * nucleus
    granules = (_granule_mask(cell_type, shape, radius, rng) * (np.clip(visible, 0, 255) / 255)).astype(np.uint8)
    colour = _jitter_colour(cell_type.granule_colour, rng, 9)
    _paint(patch, granules, colour, 0.05 * _smooth_noise(rng, shape, 5), blur_sigma=0.9)


def _red_cell_centres(rng: Generator, centre: np.ndarray, clearance: float) -> list[np.ndarray]:
    """Scatter red cells that touch or overlap a little, at `clearance` from the cell in the middle."""
    centres: list[np.ndarray] = []
    count = rng.integers(5, 17)
    for candidate in rng.uniform(-30, (WIDTH + 30, HEIGHT + 30), (80, 2)):
        is_clear = np.hypot(*(candidate - centre)) > clearance
        if is_clear and all(np.hypot(*(candidate - other)) > 72 for other in centres):
            centres.append(candidate)
    return centres[:count]


def _draw_red_cells(canvas: np.ndarray, centre: np.ndarray, clearance: float, rng: Generator) -> None:
    """Draw red cells by their thickness, which dims the light: overlaps are darker, the hollow middle is paler."""
    discs = np.zeros(canvas.shape[:2], np.uint8)
    hollows = np.zeros_like(discs)
    for cell_centre in _red_cell_centres(rng, centre, clearance):
        radius = rng.uniform(37, 48)
        # 80 per cell leaves room for three overlapping cells in eight bits.
        for field, size, depth in ((discs, radius, 80), (hollows, radius * rng.uniform(0.35, 0.5), 48)):
            mask = np.zeros_like(field)
            _draw_blob(mask, cell_centre, size, rng, wobble=0.03, value=depth)
            cv2.add(field, mask, dst=field)
    thickness = cv2.GaussianBlur(discs, (0, 0), 1.8) - cv2.GaussianBlur(hollows, (0, 0), 8).astype(np.float32)
    absorption = np.log(np.array(BACKGROUND, np.float32) / _jitter_colour(RED_CELL, rng, 8))
    canvas *= np.exp(thickness[..., None] * (-absorption / 80))


def _photograph(canvas: np.ndarray, rng: Generator) -> np.ndarray:
    """Apply the effects of slide, stain and camera: uneven light, blur, noise, and more or less dye."""
    light = 1 + 0.02 * _smooth_noise(rng, canvas.shape[:2], 200)
    image = np.asarray(cv2.GaussianBlur(canvas * light[..., None], (0, 0), rng.uniform(0.5, 1.3)), np.float32)
    image += rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(1.5, 4)
    # A power above one deepens dark tones and hardly changes the bare background, as more dye does.
    dye = rng.uniform(0.8, 1.25) * rng.normal(1, 0.05, 3)
    curve = 255 * (np.arange(256)[:, None] / 255) ** dye
    return cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), curve.astype(np.uint8)[:, None])


def draw_image(cell_type: CellType, rng: Generator) -> np.ndarray:
    """Draw an image of a cell type, uint8 RGB (HEIGHT, WIDTH, 3), among red cells and platelets."""
    canvas = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.float32)
    centre = np.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-30, 30, 2)
    _draw_red_cells(canvas, centre, clearance=float(np.mean(cell_type.radius)) + 30, rng=rng)
    for _ in range(rng.integers(0, 3)):
        _draw_cell(canvas, CELL_TYPES["platelet"], rng.uniform(30, (WIDTH - 30, HEIGHT - 30)), rng)
    for index in range(rng.integers(*cell_type.cells, endpoint=True)):
        _draw_cell(canvas, cell_type, centre + index * rng.uniform(-55, 55, 2), rng)
    return _photograph(canvas, rng)
