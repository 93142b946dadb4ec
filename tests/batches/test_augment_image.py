"""Augmentation one image at a time: a pure function of pixels and seed, with the numbers of each policy."""

from __future__ import annotations

import random
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest

from comp.batches.augment_image import ImageAugmenter, build_transforms, warnings_as_errors
from comp.batches.policies import POLICIES
from comp.data.images import SquareSpec, read_image
from comp.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", POLICIES)
def test_image_augmenter_is_a_pure_function_of_pixels_and_seed(name):
    first, other = ImageAugmenter(name), ImageAugmenter(name)
    before = [first(PIXELS, 32, seed) for seed in range(20)]
    random.seed(1)
    np.random.seed(1)
    after = [other(PIXELS, 32, seed) for seed in reversed(range(20))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(a.shape == PIXELS.shape and a.dtype == np.uint8 for a in before)
    assert name == "none" or len({a.tobytes() for a in before}) > 3


def test_image_augmenter_none_changes_nothing():
    assert np.array_equal(ImageAugmenter("none")(PIXELS, 32, 3), PIXELS)


def test_image_augmenter_flips_are_independent():
    # with set_random_seed() of albumentations 2.0.8 only two of the four outcomes ever happen
    corners = np.zeros((2, 2, 3), np.uint8)
    corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1] = 0, 1, 2, 3
    outcomes = Counter(int(ImageAugmenter("flips")(corners, 2, seed)[0, 0, 0]) for seed in range(400))
    assert set(outcomes) == {0, 1, 2, 3} and min(outcomes.values()) > 60


def test_image_augmenter_flips_keep_all_pixels():
    for seed in range(8):
        assert sorted(ImageAugmenter("flips")(PIXELS, 32, seed).ravel()) == sorted(PIXELS.ravel())


@pytest.mark.parametrize("name", ["rotation", "gupta", "karakus"])
def test_image_augmenter_warped_image_stays_sharp(tiny_dataset, name):
    """Blurred training images with sharp validation images cost 10 points of accuracy at 64 px."""
    square = SquareSpec(256)(read_image(next((tiny_dataset / "train" / "neutrophil").iterdir())))

    def sharpness(pixels) -> float:
        return cv2.Laplacian(pixels[16:48, 16:48], cv2.CV_64F).std()  # the cell, not the mirrored border

    warped = np.mean([sharpness(ImageAugmenter(name)(square, 64, seed)) for seed in range(20)])
    assert 0.8 < warped / sharpness(ImageAugmenter("none")(square, 64, 0)) < 1.25


def test_image_augmenter_policies_without_colour_jitter_keep_colour():
    flat = np.full((32, 32, 3), (200, 100, 50), np.uint8)
    for name in ("flips", "rotation", "karakus", "gupta"):
        assert all(np.array_equal(ImageAugmenter(name)(flat, 32, seed), flat) for seed in range(5))
    assert not all(np.array_equal(ImageAugmenter("paper")(flat, 32, seed), flat) for seed in range(5))


def eight_symmetries(pixels: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(side, turns) for side in (pixels, pixels[:, ::-1]) for turns in range(4)]


def test_area_crop_keeps_90_to_100_percent_at_any_position():
    coordinates = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 256))
    square = np.dstack([coordinates, coordinates.T, coordinates])  # pixels contain their own coordinates
    crop = A.Compose(build_transforms(POLICIES["karakus"]).geometric)
    sides, positions = [], []
    for seed in range(400):
        crop.set_random_state(np.random.default_rng(seed), random.Random(seed))
        kept = crop(image=square)["image"]
        left, top = kept[0, 0, :2].astype(int)
        side = len(kept)
        assert np.array_equal(kept, square[top : top + side, left : left + side])
        sides.append(side)
        positions.append(np.array([left, top]) / max(1, 256 - side))
    areas = (np.array(sides) / 256) ** 2
    assert 0.9 <= areas.min() < 0.91 and 0.99 < areas.max() <= 1 and 0.94 < areas.mean() < 0.96
    positions = np.array(positions)[np.array(sides) < 250]
    assert len(np.unique(positions.round(), axis=0)) == 4 and positions.min() == 0 and positions.max() == 1
    assert abs(np.corrcoef(positions.T)[0, 1]) < 0.2  # the two directions are drawn apart


@pytest.mark.parametrize(("side", "size"), [(256, 100), (256, 256), (64, 64), (8, 24)])
def test_image_augmenter_karakus_returns_the_requested_size(side, size):
    square = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    assert all(ImageAugmenter("karakus")(square, size, seed).shape == (size, size, 3) for seed in range(5))


def test_image_augmenter_karakus_shows_eight_symmetries_equally_often():
    compose = A.Compose(build_transforms(POLICIES["karakus"]).pixel)
    views = {view.tobytes(): number for number, view in enumerate(eight_symmetries(PIXELS))}
    seen = Counter()
    for seed in range(400):
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        seen[views[compose(image=PIXELS)["image"].tobytes()]] += 1
    assert len(views) == len(seen) == 8 and min(seen.values()) > 25


def test_image_augmenter_gupta_rotates_scales_and_flips_about_the_centre():
    """A bar with a light corner: its angle, length and orientation show the transform."""
    bar = np.zeros((128, 128, 3), np.uint8)
    bar[54:74, 24:104] = 200
    bar[54:64, 24:64] = 255  # one corner of the bar
    angles, scales, corners = [], [], set()
    for seed in range(150):
        shown = ImageAugmenter("gupta")(bar, 128, seed)[..., 0].astype(float)
        down, right = np.nonzero(shown > 100)
        centre = np.array([right.mean(), down.mean()])
        assert np.abs(centre - 63.5).max() < 1.5  # nothing is shifted
        _, axes = np.linalg.eigh(np.cov(right, down))
        angles.append(np.degrees(np.arctan2(*axes[::-1, 1])) % 180)
        scales.append(np.sqrt(len(right) / (80 * 20)))
        light = np.argwhere(shown > 235)[:, ::-1].mean(0) - centre
        along = axes[:, 1] * np.sign(axes[0, 1])
        corners.add((light @ along > 0, light @ [-along[1], along[0]] > 0))
    angles = (np.array(angles) + 90) % 180 - 90
    assert -31 < angles.min() < -25 and 25 < angles.max() < 31
    assert 0.88 < min(scales) < 0.93 and 1.07 < max(scales) < 1.12
    assert len(corners) == 4  # both flips


def test_warnings_as_errors_wrong_argument_raises():
    with pytest.raises(UserWarning, match="prob"):
        warnings_as_errors(lambda: [A.HorizontalFlip(prob=0.3)])


def test_image_augmenter_unknown_policy_raises_with_a_suggestion():
    with pytest.raises(UserError, match="did you mean heavy"):
        ImageAugmenter("heavvy")
