"""Any picture becomes uint8 RGB, upright, and then a square; a broken one is never decoded as if it were whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from comp.data.images import SquareSpec, UnreadableImageError, read_image

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)[None].repeat(16, 0)  # dark left, bright right
COLOURED = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 60)], axis=-1)  # red grows, green falls


def saved(path: Path, picture: Picture.Image, **options) -> Path:
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [
        ("RGB", "png", 0),
        ("RGB", "bmp", 0),
        ("RGB", "tif", 0),
        ("RGB", "jpg", 12),
        ("RGB", "webp", 16),
        ("RGBA", "png", 0),
        ("CMYK", "tif", 2),
        ("CMYK", "jpg", 16),
        ("P", "png", 24),
    ],
)
def test_a_coloured_picture_keeps_its_colours(tmp_path, mode, suffix, tolerance):
    picture = Picture.fromarray(COLOURED)
    picture = picture.quantize(256) if mode == "P" else picture.convert(mode)
    pixels = read_image(saved(tmp_path / f"x.{suffix}", picture))
    assert pixels.dtype == np.uint8 and pixels.shape == COLOURED.shape
    assert np.abs(pixels.astype(int) - COLOURED).max() <= tolerance


@pytest.mark.parametrize(
    ("deep", "suffix"),
    [
        (RAMP, "png"),
        (RAMP.astype(np.uint16) * 257, "png"),  # 16 bits: the full range
        (RAMP.astype(np.uint16) * 257, "tif"),
        (RAMP.astype(np.uint16), "png"),  # 8 bits kept in 16
        (RAMP.astype(np.float32), "tif"),
    ],
)
def test_a_grey_picture_of_any_depth_keeps_its_brightness(tmp_path, deep, suffix):
    pixels = read_image(saved(tmp_path / f"x.{suffix}", Picture.fromarray(deep)))
    assert pixels.dtype == np.uint8 and pixels.shape == (16, 24, 3)
    assert np.abs(pixels.astype(int) - RAMP[..., None]).max() <= 1


def test_black_and_white_with_transparency_is_a_picture_too(tmp_path):
    grey = Picture.merge("LA", [Picture.fromarray(RAMP), Picture.fromarray(np.full_like(RAMP, 255))])
    assert np.array_equal(read_image(saved(tmp_path / "x.png", grey)), RAMP[..., None].repeat(3, -1))


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, COLOURED),
        (2, COLOURED[:, ::-1]),
        (3, COLOURED[::-1, ::-1]),
        (6, np.rot90(COLOURED, -1)),
        (8, np.rot90(COLOURED)),
    ],
)
def test_a_camera_that_was_held_sideways_is_turned_upright(tmp_path, orientation, turned):
    exif = Picture.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(saved(tmp_path / "x.png", Picture.fromarray(COLOURED), exif=exif)), turned)


def half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_half_a_picture_is_broken(tmp_path, suffix):
    with pytest.raises(UnreadableImageError):
        read_image(half(saved(tmp_path / f"x.{suffix}", Picture.fromarray(COLOURED))))


@pytest.mark.parametrize(("content", "why"), [(b"", "empty file"), (b"no picture", "not an image"), (None, "missing")])
def test_a_file_that_is_no_picture_says_why(tmp_path, content, why):
    if content is not None:
        (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^{why}$"):
        read_image(tmp_path / "x.jpg")


# ---- squares: a white rectangle of 40 x 20 in the middle of a black picture of 120 x 60 ----

DRAWN = np.zeros((60, 120, 3), np.uint8)
DRAWN[20:40, 40:80] = 255


def bright(pixels: np.ndarray) -> tuple[int, int]:
    """Height and width of what is bright; the rest is dark."""
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    assert len(rows) == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1, "not one rectangle"
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize(
    ("fit", "crop", "size", "seen"),
    [
        ("squash", None, 60, (20, 20)),  # the whole width in half the columns
        ("crop", None, 60, (20, 40)),  # the middle as it is
        ("squash", 60, 60, (20, 40)),  # a centre crop comes before everything else
        ("squash", 30, 60, (40, 60)),  # and may cut into the rectangle: 30 x 30 px shown at twice the size
        ("crop", 999, 60, (20, 40)),  # larger than the picture is no crop
        ("crop", None, 30, (10, 20)),
        ("crop", None, 120, (40, 80)),
    ],
)
def test_a_square_shows_what_its_fit_says(fit, crop, size, seen):
    square = SquareSpec(size, fit, crop)(DRAWN)
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    assert bright(square) == seen


def test_padding_keeps_all_of_the_picture_and_mirrors_it_above_and_below():
    square = SquareSpec(120, "pad")(DRAWN)
    assert np.array_equal(square[30:90], DRAWN)
    assert np.array_equal(square[:30], DRAWN[1:31][::-1]) and np.array_equal(square[90:], DRAWN[29:59][::-1])


def test_a_picture_of_the_right_size_is_left_alone():
    exact = DRAWN[:, 30:90]
    assert all(np.array_equal(SquareSpec(60, fit)(exact), exact) for fit in ("squash", "crop", "pad"))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 3), (7, 300)])
def test_the_oddest_shape_becomes_a_square(fit, shape):
    square = SquareSpec(32, fit)(np.full((*shape, 3), 77, np.uint8))
    assert square.shape == (32, 32, 3) and (square == 77).all()
