from __future__ import annotations

import random
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest

from comp.data.augment import POLICIES, Policy, strict
from comp.data.images import Square, read_image
from comp.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_a_pure_function_of_pixels_and_seed(name):
    first, other = Policy(name), Policy(name)
    before = [first(PIXELS, 32, seed) for seed in range(20)]
    random.seed(1)
    np.random.seed(1)
    after = [other(PIXELS, 32, seed) for seed in reversed(range(20))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(a.shape == PIXELS.shape and a.dtype == np.uint8 for a in before)
    assert name == "none" or len({a.tobytes() for a in before}) > 3


def test_none_changes_nothing():
    assert np.array_equal(Policy("none")(PIXELS, 32, 3), PIXELS)


def test_the_two_flips_are_independent_of_each_other():
    # with set_random_seed() of albumentations 2.0.8 only two of the four outcomes ever happen
    corners = np.zeros((2, 2, 3), np.uint8)
    corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1] = 0, 1, 2, 3
    outcomes = Counter(int(Policy("flips")(corners, 2, seed)[0, 0, 0]) for seed in range(400))
    assert set(outcomes) == {0, 1, 2, 3} and min(outcomes.values()) > 60


def test_flips_move_pixels_and_invent_none():
    for seed in range(8):
        assert sorted(Policy("flips")(PIXELS, 32, seed).ravel()) == sorted(PIXELS.ravel())


def test_a_rotated_image_is_about_as_sharp_as_one_that_was_not(tiny):
    """Else training sees blurred images and validation sharp ones, which cost 10 points of accuracy at 64 px."""
    square = Square(256)(read_image(next((tiny / "train" / "neutrophil").iterdir())))

    def sharpness(pixels) -> float:
        return cv2.Laplacian(pixels[16:48, 16:48], cv2.CV_64F).std()  # the cell, not the mirrored border
    turned = np.mean([sharpness(Policy("rotation")(square, 64, seed)) for seed in range(20)])
    assert turned > 0.8 * sharpness(Policy("none")(square, 64, 0))


def test_colour_is_left_alone_by_the_policies_without_it():
    flat = np.full((32, 32, 3), (200, 100, 50), np.uint8)
    assert all(np.array_equal(Policy("rotation")(flat, 32, seed), flat) for seed in range(5))
    assert not all(np.array_equal(Policy("paper")(flat, 32, seed), flat) for seed in range(5))


def test_a_wrong_argument_is_an_error_and_not_a_warning():
    with pytest.raises(UserWarning, match="prob"):
        strict(lambda: [A.HorizontalFlip(prob=0.3)])


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(UserError, match="did you mean heavy"):
        Policy("heavvy")
