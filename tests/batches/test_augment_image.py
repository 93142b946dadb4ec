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
def test_a_policy_is_a_pure_function_of_pixels_and_seed(name):
    first, other = ImageAugmenter(name), ImageAugmenter(name)
    before = [first(PIXELS, 32, seed) for seed in range(20)]
    random.seed(1)
    np.random.seed(1)
    after = [other(PIXELS, 32, seed) for seed in reversed(range(20))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(a.shape == PIXELS.shape and a.dtype == np.uint8 for a in before)
    assert name == "none" or len({a.tobytes() for a in before}) > 3


def test_none_changes_nothing():
    assert np.array_equal(ImageAugmenter("none")(PIXELS, 32, 3), PIXELS)


def test_the_two_flips_are_independent_of_each_other():
    # with set_random_seed() of albumentations 2.0.8 only two of the four outcomes ever happen
    corners = np.zeros((2, 2, 3), np.uint8)
    corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1] = 0, 1, 2, 3
    outcomes = Counter(int(ImageAugmenter("flips")(corners, 2, seed)[0, 0, 0]) for seed in range(400))
    assert set(outcomes) == {0, 1, 2, 3} and min(outcomes.values()) > 60


def test_flips_move_pixels_and_invent_none():
    for seed in range(8):
        assert sorted(ImageAugmenter("flips")(PIXELS, 32, seed).ravel()) == sorted(PIXELS.ravel())


@pytest.mark.parametrize("name", ["rotation", "gupta", "karakus"])
def test_a_warped_image_is_about_as_sharp_as_one_that_was_not(tiny_dataset, name):
    """Else training sees blurred images and validation sharp ones, which cost 10 points of accuracy at 64 px."""
    square = SquareSpec(256)(read_image(next((tiny_dataset / "train" / "neutrophil").iterdir())))

    def sharpness(pixels) -> float:
        return cv2.Laplacian(pixels[16:48, 16:48], cv2.CV_64F).std()  # the cell, not the mirrored border

    warped = np.mean([sharpness(ImageAugmenter(name)(square, 64, seed)) for seed in range(20)])
    assert 0.8 < warped / sharpness(ImageAugmenter("none")(square, 64, 0)) < 1.25


def test_colour_is_left_alone_by_the_policies_without_it():
    flat = np.full((32, 32, 3), (200, 100, 50), np.uint8)
    for name in ("flips", "rotation", "karakus", "gupta"):
        assert all(np.array_equal(ImageAugmenter(name)(flat, 32, seed), flat) for seed in range(5))
    assert not all(np.array_equal(ImageAugmenter("paper")(flat, 32, seed), flat) for seed in range(5))


def eight_views(pixels: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(side, turns) for side in (pixels, pixels[:, ::-1]) for turns in range(4)]


def test_karakus_keeps_a_square_window_of_90_to_100_percent_of_the_area_anywhere():
    place = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 256))
    square = np.dstack([place, place.T, place])  # a pixel says where it was
    crop = A.Compose(build_transforms(POLICIES["karakus"]).geometric)
    sides, places = [], []
    for seed in range(400):
        crop.set_random_state(np.random.default_rng(seed), random.Random(seed))
        kept = crop(image=square)["image"]
        left, top = kept[0, 0, :2].astype(int)
        side = len(kept)
        assert np.array_equal(kept, square[top : top + side, left : left + side])
        sides.append(side)
        places.append(np.array([left, top]) / max(1, 256 - side))
    areas = (np.array(sides) / 256) ** 2
    assert 0.9 <= areas.min() < 0.91 and 0.99 < areas.max() <= 1 and 0.94 < areas.mean() < 0.96
    places = np.array(places)[np.array(sides) < 250]
    assert len(np.unique(places.round(), axis=0)) == 4 and places.min() == 0 and places.max() == 1
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.2  # the two directions are drawn apart


@pytest.mark.parametrize(("side", "size"), [(256, 100), (256, 256), (64, 64), (8, 24)])
def test_karakus_gives_the_size_asked_for(side, size):
    square = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    assert all(ImageAugmenter("karakus")(square, size, seed).shape == (size, size, 3) for seed in range(5))


def test_karakus_shows_the_eight_views_of_a_square_equally_often():
    turn = A.Compose(build_transforms(POLICIES["karakus"]).pixel)
    views = {view.tobytes(): number for number, view in enumerate(eight_views(PIXELS))}
    seen = Counter()
    for seed in range(400):
        turn.set_random_state(np.random.default_rng(seed), random.Random(seed))
        seen[views[turn(image=PIXELS)["image"].tobytes()]] += 1
    assert len(views) == len(seen) == 8 and min(seen.values()) > 25


def test_gupta_turns_zooms_and_flips_about_the_centre():
    """A bar with a light half: its angle, its length and which way it points say what was done."""
    bar = np.zeros((128, 128, 3), np.uint8)
    bar[54:74, 24:104] = 200
    bar[54:64, 24:64] = 255  # one corner of the bar
    angles, zooms, corners = [], [], set()
    for seed in range(150):
        shown = ImageAugmenter("gupta")(bar, 128, seed)[..., 0].astype(float)
        down, right = np.nonzero(shown > 100)
        centre = np.array([right.mean(), down.mean()])
        assert np.abs(centre - 63.5).max() < 1.5  # nothing is shifted
        _, axes = np.linalg.eigh(np.cov(right, down))
        angles.append(np.degrees(np.arctan2(*axes[::-1, 1])) % 180)
        zooms.append(np.sqrt(len(right) / (80 * 20)))
        light = np.argwhere(shown > 235)[:, ::-1].mean(0) - centre
        along = axes[:, 1] * np.sign(axes[0, 1])
        corners.add((light @ along > 0, light @ [-along[1], along[0]] > 0))
    angles = (np.array(angles) + 90) % 180 - 90
    assert -31 < angles.min() < -25 and 25 < angles.max() < 31
    assert 0.88 < min(zooms) < 0.93 and 1.07 < max(zooms) < 1.12
    assert len(corners) == 4  # both flips


def test_a_wrong_argument_is_an_error_and_not_a_warning():
    with pytest.raises(UserWarning, match="prob"):
        warnings_as_errors(lambda: [A.HorizontalFlip(prob=0.3)])


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(UserError, match="did you mean heavy"):
        ImageAugmenter("heavvy")
