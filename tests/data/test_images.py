"""Any image becomes uint8 RGB, upright, and then a square; an incomplete file raises an error."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from comp.data.images import SquareSpec, UnreadableImageError, read_image, resize

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)[None].repeat(16, 0)  # dark left, bright right
COLOURED = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 60)], axis=-1)  # red grows, green falls


def save(path: Path, image: PillowImage.Image, **options) -> Path:
    image.save(path, **options)
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
def test_read_image_colour_image_keeps_its_colours(tmp_path, mode, suffix, tolerance):
    image = PillowImage.fromarray(COLOURED)
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    pixels = read_image(save(tmp_path / f"x.{suffix}", image))
    assert pixels.dtype == np.uint8 and pixels.shape == COLOURED.shape
    assert np.abs(pixels.astype(int) - COLOURED).max() <= tolerance


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (RAMP, "png"),
        (RAMP.astype(np.uint16) * 257, "png"),  # 16 bits: the full range
        (RAMP.astype(np.uint16) * 257, "tif"),
        (RAMP.astype(np.uint16), "png"),  # 8 bits kept in 16
        (RAMP.astype(np.float32), "tif"),
        (RAMP.astype(np.float32) / 255, "tif"),  # from 0 to 1
    ],
)
def test_read_image_grey_image_of_any_depth_keeps_its_brightness(tmp_path, values, suffix):
    pixels = read_image(save(tmp_path / f"x.{suffix}", PillowImage.fromarray(values)))
    assert pixels.dtype == np.uint8 and pixels.shape == (16, 24, 3)
    assert np.abs(pixels.astype(int) - RAMP[..., None]).max() <= 1


def test_read_image_grey_with_alpha_is_read(tmp_path):
    grey = PillowImage.merge("LA", [PillowImage.fromarray(RAMP), PillowImage.fromarray(np.full_like(RAMP, 255))])
    assert np.array_equal(read_image(save(tmp_path / "x.png", grey)), RAMP[..., None].repeat(3, -1))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, COLOURED),
        (2, COLOURED[:, ::-1]),
        (3, COLOURED[::-1, ::-1]),
        (6, np.rot90(COLOURED, -1)),
        (8, np.rot90(COLOURED)),
    ],
)
def test_read_image_applies_exif_orientation(tmp_path, orientation, upright):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(save(tmp_path / "x.png", PillowImage.fromarray(COLOURED), exif=exif)), upright)


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_read_image_truncated_file_raises(tmp_path, suffix):
    with pytest.raises(UnreadableImageError):
        read_image(truncate(save(tmp_path / f"x.{suffix}", PillowImage.fromarray(COLOURED))))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"no picture", "not an image"), (None, "missing")]
)
def test_read_image_other_file_raises_with_the_reason(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^{reason}$"):
        read_image(tmp_path / "x.jpg")


# ---- squares: a white rectangle of 40 x 20 in the middle of a black image of 120 x 60 ----

DRAWN = np.zeros((60, 120, 3), np.uint8)
DRAWN[20:40, 40:80] = 255


def bright_size(pixels: np.ndarray) -> tuple[int, int]:
    """Return the height and width of the bright rectangle."""
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    assert len(rows) == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1, "not one rectangle"
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize(
    ("fit", "crop", "size", "visible"),
    [
        ("squash", None, 60, (20, 20)),  # the whole width in half the columns
        ("crop", None, 60, (20, 40)),  # the middle as it is
        ("squash", 60, 60, (20, 40)),  # a centre crop comes before everything else
        ("squash", 30, 60, (40, 60)),  # and may cut into the rectangle: 30 x 30 px shown at twice the size
        ("crop", 999, 60, (20, 40)),  # a crop larger than the image has no effect
        ("crop", None, 30, (10, 20)),
        ("crop", None, 120, (40, 80)),
    ],
)
def test_square_spec_fit_and_crop_decide_what_is_visible(fit, crop, size, visible):
    square = SquareSpec(size, fit, crop)(DRAWN)
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    assert bright_size(square) == visible


def test_square_spec_pad_keeps_the_image_and_mirrors_the_border():
    square = SquareSpec(120, "pad")(DRAWN)
    assert np.array_equal(square[30:90], DRAWN)
    assert np.array_equal(square[:30], DRAWN[1:31][::-1]) and np.array_equal(square[90:], DRAWN[29:59][::-1])


def test_square_spec_image_of_the_size_is_unchanged():
    exact = DRAWN[:, 30:90]
    assert all(np.array_equal(SquareSpec(60, fit)(exact), exact) for fit in ("squash", "crop", "pad"))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 3), (7, 300)])
def test_square_spec_extreme_shape_becomes_a_square(fit, shape):
    square = SquareSpec(32, fit)(np.full((*shape, 3), 77, np.uint8))
    assert square.shape == (32, 32, 3) and (square == 77).all()


@pytest.mark.parametrize(("side", "interpolation"), [(32, cv2.INTER_AREA), (33, cv2.INTER_LINEAR)])
def test_resize_averages_areas_from_half_the_side_down(side, interpolation):
    noise = np.random.default_rng(0).integers(0, 256, (64, 90, 3), np.uint8)
    assert np.array_equal(resize(noise, side), cv2.resize(noise, (side, side), interpolation=interpolation))
