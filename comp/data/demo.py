"""Draws a make-believe blood-cell competition, so that the kit can be tried without any real data."""

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

Range = tuple[float, float]
Colour = tuple[int, int, int]  # red, green, blue

WIDTH, HEIGHT = 360, 363
JPEG_QUALITY = 90
# Test pictures draw from seeds far above any train seed, so neither set depends on the size of the other.
FIRST_TEST_INDEX = 1_000_000

BACKGROUND = (243, 230, 224)
RED_CELL = (226, 160, 152)


def _middle(mask: np.ndarray) -> np.ndarray:
    return np.array(mask.shape[::-1]) / 2


def _polar(reach: float | np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    """The points `reach` away from the origin in the direction `angle`, one a row."""
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)


def _fixed_point(lengths: np.ndarray) -> np.ndarray:
    """Lengths as cv2 wants them with shift=4, which is what lets it draw between pixels."""
    return np.int32(lengths * 16)


def _blob(
    mask: np.ndarray, centre: np.ndarray, radius: float, rng: Generator, wobble: float = 0.06, value: int = 255
) -> None:
    """Fill a disc whose outline is bent by a few random waves."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    reach = np.ones_like(angle)
    for waves in (2, 3, 4, 5):
        reach += rng.normal(0, 2 * wobble / waves) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    outline = centre + _polar(radius * reach, angle)
    cv2.fillPoly(mask, [_fixed_point(outline)], value, cv2.LINE_AA, shift=4)


def _round_nucleus(mask: np.ndarray, radius: float, rng: Generator, size: Range, dent: float = 0.0) -> None:
    """One round or oval body, off-centre where there is room; a share `dent` of them has a bite taken out."""
    nucleus = radius * rng.uniform(*size)
    towards = _polar(1.0, rng.uniform(0, 2 * np.pi))
    centre = _middle(mask) + towards * (radius - nucleus) * rng.uniform(0, 0.6)
    _blob(mask, centre, nucleus, rng)
    if rng.random() < dent:
        _blob(mask, centre - towards * nucleus * 1.15, nucleus * rng.uniform(0.3, 0.55), rng, value=0)


def _beaded_nucleus(
    mask: np.ndarray, radius: float, rng: Generator, beads: tuple[int, int], step: Range, size: Range
) -> None:
    """Bodies strung along an arc: far apart they are lobes on a thread, close together a horseshoe."""
    count = rng.integers(*beads, endpoint=True)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(*step, count))
    spots = _polar(radius * rng.uniform(0.41, 0.51, count), angle)
    spots += _middle(mask) - spots.mean(axis=0) * 0.6
    cv2.polylines(mask, [_fixed_point(spots)], False, 255, round(radius * 0.1), cv2.LINE_AA, shift=4)
    for spot in spots:
        _blob(mask, spot, radius * rng.uniform(*size), rng, wobble=0.1)


@dataclass(frozen=True)
class CellType:
    """What tells one kind of cell from another; lengths are in pixels, nucleus sizes in cell radii."""

    radius: Range
    cytoplasm: Colour
    nucleus: Callable[[np.ndarray, float, Generator], None] | None = None
    chromatin: Colour = (96, 56, 132)
    lace: float = 0.08
    granules: tuple[int, int] = (0, 0)
    granule_colour: Colour = (255, 255, 255)
    granule_radius: Range = (1, 2)
    veil: float = 0.0  # how strongly granules lying over the nucleus hide it
    cells: tuple[int, int] = (1, 1)


# In the order of the labels.
CELL_TYPES = {
    "basophil": CellType(
        radius=(62, 84),
        cytoplasm=(214, 190, 214),
        chromatin=(118, 82, 150),
        nucleus=partial(_beaded_nucleus, beads=(2, 3), step=(1.2, 1.9), size=(0.36, 0.44)),
        granules=(110, 190),
        granule_colour=(62, 44, 104),
        granule_radius=(3.5, 6.0),
        veil=0.9,
    ),
    "eosinophil": CellType(
        radius=(66, 90),
        cytoplasm=(236, 196, 190),
        chromatin=(104, 64, 138),
        nucleus=partial(_beaded_nucleus, beads=(2, 2), step=(1.9, 2.4), size=(0.32, 0.40)),
        granules=(300, 440),
        granule_colour=(212, 112, 92),
        granule_radius=(3.0, 4.5),
        veil=0.15,
    ),
    "erythroblast": CellType(
        radius=(46, 66),
        cytoplasm=(196, 176, 196),
        chromatin=(74, 42, 104),
        lace=0.05,
        nucleus=partial(_round_nucleus, size=(0.5, 0.64)),
    ),
    "ig": CellType(
        radius=(74, 102),
        cytoplasm=(198, 178, 212),
        chromatin=(134, 86, 160),
        lace=0.10,
        nucleus=partial(_round_nucleus, size=(0.62, 0.74), dent=0.4),
        granules=(90, 200),
        granule_colour=(138, 78, 150),
        granule_radius=(1.2, 2.4),
        veil=0.5,
    ),
    "lymphocyte": CellType(
        radius=(50, 74),
        cytoplasm=(172, 190, 226),
        chromatin=(98, 58, 136),
        nucleus=partial(_round_nucleus, size=(0.80, 0.90), dent=0.2),
    ),
    "monocyte": CellType(
        radius=(78, 104),
        cytoplasm=(184, 182, 206),
        chromatin=(132, 98, 164),
        lace=0.16,
        nucleus=partial(_beaded_nucleus, beads=(7, 10), step=(0.30, 0.42), size=(0.28, 0.36)),
        granules=(0, 9),
        granule_colour=(226, 220, 232),
        granule_radius=(2.5, 5.5),
    ),
    "neutrophil": CellType(
        radius=(64, 90),
        cytoplasm=(234, 206, 214),
        nucleus=partial(_beaded_nucleus, beads=(3, 5), step=(0.8, 1.35), size=(0.21, 0.28)),
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


def _noise(rng: Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """A smooth random field with features about `grain` pixels across."""
    height, width = shape
    coarse = rng.standard_normal((int(height / grain) + 2, int(width / grain) + 2), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: np.ndarray, texture: np.ndarray, soft: float) -> None:
    """Lay `colour`, brightened and darkened by `texture`, over the part of the canvas that `mask` covers."""
    cover = cv2.GaussianBlur(mask, (0, 0), soft)[..., None] / np.float32(255)
    canvas += cover * (colour * (1 + texture[..., None]) - canvas)


def _jittered(colour: Colour, rng: Generator, spread: float) -> np.ndarray:
    """A colour somewhat lighter or darker than `colour`, and a little off in hue."""
    shift = rng.normal(0, spread) + rng.normal(0, 0.6 * spread, 3)
    return np.float32(np.clip(colour + shift, 20, 250))


def _granule_mask(kind: CellType, shape: tuple[int, int], radius: float, rng: Generator) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    count = rng.integers(*kind.granules, endpoint=True)
    # The square root spreads granules evenly over the disc instead of crowding them in its middle.
    reach = radius * np.sqrt(rng.uniform(0, 0.92, count))
    spots = _fixed_point(_middle(mask) + _polar(reach, rng.uniform(0, 2 * np.pi, count)))
    sizes = _fixed_point(rng.uniform(*kind.granule_radius, count))
    strengths = rng.integers(110, 256, count)
    for spot, size, strength in zip(spots.tolist(), sizes.tolist(), strengths.tolist(), strict=True):
        cv2.circle(mask, spot, size, strength, -1, cv2.LINE_AA, shift=4)
    return mask


def _draw_cell(canvas: np.ndarray, kind: CellType, centre: np.ndarray, rng: Generator) -> None:
    """Paint cytoplasm, nucleus and granules, in this order; the cell has to lie wholly on the canvas."""
    radius = rng.uniform(*kind.radius)
    half = int(radius * 1.3)
    left, top = np.int32(centre) - half
    patch = canvas[top : top + 2 * half, left : left + 2 * half]
    shape = patch.shape[:2]

    body = np.zeros(shape, np.uint8)
    _blob(body, _middle(body), radius, rng)
    _paint(patch, body, _jittered(kind.cytoplasm, rng, 11), 0.03 * _noise(rng, shape, 8), soft=2)

    nucleus = np.zeros(shape, np.uint8)
    if kind.nucleus:
        kind.nucleus(nucleus, radius, rng)
        nucleus = cv2.min(nucleus, body)
        lace = kind.lace * _noise(rng, shape, 6)
        _paint(patch, nucleus, _jittered(kind.chromatin, rng, 11), lace, soft=1.3)

    visible = body - (1 - kind.veil) * nucleus
    granules = np.uint8(_granule_mask(kind, shape, radius, rng) * (np.clip(visible, 0, 255) / 255))
    _paint(patch, granules, _jittered(kind.granule_colour, rng, 9), 0.05 * _noise(rng, shape, 5), soft=0.9)


def _red_cell_centres(rng: Generator, centre: np.ndarray, clearing: float) -> list[np.ndarray]:
    """Scatter red cells that touch or overlap a little, and keep clear of the cell in the middle."""
    centres: list[np.ndarray] = []
    wanted = rng.integers(5, 17)
    for candidate in rng.uniform(-30, (WIDTH + 30, HEIGHT + 30), (80, 2)):
        clear = np.hypot(*(candidate - centre)) > clearing
        if clear and all(np.hypot(*(candidate - other)) > 72 for other in centres):
            centres.append(candidate)
    return centres[:wanted]


def _draw_red_cells(canvas: np.ndarray, centre: np.ndarray, clearing: float, rng: Generator) -> None:
    """Red cells dim the light by their thickness, so overlaps come out darker and the hollow middle paler."""
    discs = np.zeros(canvas.shape[:2], np.uint8)
    hollows = np.zeros_like(discs)
    for spot in _red_cell_centres(rng, centre, clearing):
        radius = rng.uniform(37, 48)
        # 80 per cell leaves room for three cells on top of one another in eight bits.
        for field, size, depth in ((discs, radius, 80), (hollows, radius * rng.uniform(0.35, 0.5), 48)):
            mask = np.zeros_like(field)
            _blob(mask, spot, size, rng, wobble=0.03, value=depth)
            cv2.add(field, mask, dst=field)
    thickness = cv2.GaussianBlur(discs, (0, 0), 1.8) - np.float32(cv2.GaussianBlur(hollows, (0, 0), 8))
    absorption = np.log(np.float32(BACKGROUND) / _jittered(RED_CELL, rng, 8))
    canvas *= np.exp(thickness[..., None] * (-absorption / 80))


def _photograph(canvas: np.ndarray, rng: Generator) -> np.ndarray:
    """What slide, stain and camera do to a picture: uneven light, blur, noise, and more or less dye."""
    light = 1 + 0.02 * _noise(rng, canvas.shape[:2], 200)
    picture = cv2.GaussianBlur(canvas * light[..., None], (0, 0), rng.uniform(0.5, 1.3))
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(1.5, 4)
    # A power above one deepens dark tones and leaves the bare background nearly as it was, as more dye does.
    dye = rng.uniform(0.8, 1.25) * rng.normal(1, 0.05, 3)
    curve = 255 * (np.arange(256)[:, None] / 255) ** dye
    return cv2.LUT(np.uint8(np.clip(picture, 0, 255)), np.uint8(curve)[:, None])


def _draw_image(kind: CellType, rng: Generator) -> np.ndarray:
    canvas = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.float32)
    centre = np.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-30, 30, 2)
    _draw_red_cells(canvas, centre, clearing=np.mean(kind.radius) + 30, rng=rng)
    for _ in range(rng.integers(0, 3)):
        _draw_cell(canvas, CELL_TYPES["platelet"], rng.uniform(30, (WIDTH - 30, HEIGHT - 30)), rng)
    for number in range(rng.integers(*kind.cells, endpoint=True)):
        _draw_cell(canvas, kind, centre + number * rng.uniform(-55, 55, 2), rng)
    return _photograph(canvas, rng)


def _drawing_plan(count: int, first_index: int = 0) -> list[tuple[str, int]]:
    """The class and the seed index of each picture; taking turns keeps the classes balanced."""
    names = list(CELL_TYPES)
    return [(names[number % len(names)], first_index + number) for number in range(count)]


def _draw_files(paths: list[Path], plan: list[tuple[str, int]], seed: int, title: str) -> None:
    for path, (name, index) in tqdm(
        list(zip(paths, plan, strict=True)), desc=title, unit="img", disable=None, leave=False
    ):
        picture = _draw_image(CELL_TYPES[name], np.random.default_rng([seed, index]))
        path.parent.mkdir(parents=True, exist_ok=True)
        # not cv2.imwrite, which says nothing of a disk that is full
        path.write_bytes(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])


def _write_labels(path: Path, rows: Iterable[tuple[str, str | int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "label"), *rows])


def _draw_train(root: Path, per_class: int, seed: int) -> None:
    plan = _drawing_plan(per_class * len(CELL_TYPES))
    # The same seed twice makes two identical files, so that a search for duplicates has something to find.
    plan[-1] = plan[-1 - len(CELL_TYPES)]
    numbers = np.random.default_rng(seed).permutation(len(plan)) + 1
    paths = [root / "train" / name / f"cell_{number:05d}.jpg" for number, (name, _) in zip(numbers, plan, strict=True)]
    _draw_files(paths, plan, seed, "train")


def _draw_test(root: Path, count: int, seed: int) -> None:
    plan = _drawing_plan(count, FIRST_TEST_INDEX)
    np.random.default_rng(seed).shuffle(plan)
    paths = [root / "test" / f"img_{number}.jpg" for number in range(count)]
    _draw_files(paths, plan, seed, "test")
    _write_labels(root / "sample_submission.csv", ((path.name, 0) for path in paths))
    _write_labels(root / "test_labels.csv", ((path.name, name) for path, (name, _) in zip(paths, plan, strict=True)))


def draw_competition(root: Path, *, per_class: int = 60, test: int = 160, seed: int = 0) -> None:
    """Draw train and test pictures into the new folder `root`, which appears only once it is complete."""
    if per_class < 2:
        raise ValueError("the planted duplicate needs at least two pictures per class")
    if root.exists():
        raise FileExistsError(f"{root} is already there")
    part = root.with_name(root.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    _draw_train(part, per_class, seed)
    _draw_test(part, test, seed)
    class_map = {name: label for label, name in enumerate(CELL_TYPES)}
    (part / "class_map.json").write_text(json.dumps(class_map, indent=2) + "\n")
    part.rename(root)
