"""Named augmentation policies; the only file that names albumentations.

Every policy sees a square uint8 image already at the model's size (augmenting at 360 px and resizing after costs
twice the time) and returns one of the same shape. Numbers the paper does not give (translation, scale, border)
are chosen here: 10 %, 0.9-1.1, mirrored borders, for black corners would be a feature no test image has.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable

import cv2
import numpy as np

from comp.errors import UserError, nearest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it calls home at import otherwise
import albumentations as A

MIRROR = cv2.BORDER_REFLECT_101


def _flips() -> list:
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def _rotation() -> list:
    return [*_flips(), A.Affine(rotate=(-30, 30), border_mode=MIRROR, p=1.0)]


def _colour(strength: float = 0.2, hue: float = 0.1) -> A.ColorJitter:
    spread = (1 - strength, 1 + strength)
    return A.ColorJitter(brightness=spread, contrast=spread, saturation=spread, hue=(-hue, hue), p=1.0)


def _paper() -> list:
    """The full recipe of Sharif's paper; its rotation and affine are one warp, so pixels are resampled once."""
    move = A.Affine(rotate=(-30, 30), translate_percent=(-0.1, 0.1), scale=(0.9, 1.1), keep_ratio=True,
                    border_mode=MIRROR, p=1.0)
    return [*_flips(), move, _colour()]


def _heavy() -> list:
    move = A.Affine(rotate=(-45, 45), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), shear=(-8, 8),
                    keep_ratio=True, border_mode=MIRROR, p=0.8)
    bend = A.OneOf([A.ElasticTransform(alpha=40, sigma=6, border_mode=MIRROR, p=1.0),
                    A.GridDistortion(num_steps=5, distort_limit=(-0.2, 0.2), border_mode=MIRROR, p=1.0)], p=0.3)
    grain = A.OneOf([A.GaussianBlur(blur_limit=(3, 5), p=1.0), A.GaussNoise(std_range=(0.02, 0.08), p=1.0)], p=0.4)
    holes = A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.06, 0.2), hole_width_range=(0.06, 0.2),
                            fill=0, p=0.4)
    return [A.D4(p=1.0), move, bend, _colour(0.25), grain, holes]


POLICIES: dict[str, Callable[[], list]] = {
    "none": list, "flips": _flips, "rotation": _rotation, "paper": _paper, "heavy": _heavy}


class Policy:
    """`policy(pixels, seed)`: a pure function of its arguments, whatever ran before and in whichever process."""

    def __init__(self, name: str):
        check_policy(name)
        self.name = name
        self._pipeline = strict(POLICIES[name])

    def __call__(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        # Not set_random_seed(): in 2.0.8 it gives every transform a generator of its own with the same seed, so
        # two flips at p=0.5 always agree (2 of the 4 outcomes in 2,000 draws). One shared generator does not.
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return self._pipeline(image=pixels)["image"]


def strict(build: Callable[[], list]) -> A.Compose:
    """albumentations only warns of a wrong argument and goes on with its default; here that is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return A.Compose(build())


def check_policy(name: str) -> None:
    if name not in POLICIES:
        raise UserError(f"augment.policy: there is no {name}{nearest(name, POLICIES)}")
