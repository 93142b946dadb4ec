"""Named augmentation policies; the only file that names albumentations.

A policy has two parts. What resamples pixels (rotation, shift, scale) works on the cached square at up to twice the
model's size and is resized after; the rest works at the model's size. Warping at the model's size is 0.3 ms faster
and blurs every training image while no validation image is blurred: rotation at 64 px then costs 10 points of
accuracy (0.834 instead of 0.934 after 8 epochs of fold 0). Numbers the papers do not give (translation, scale,
border) are chosen here: 10 %, 0.9-1.1, and mirrored, for black corners would be a feature no test image has.
"""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from comp.data.images import resize
from comp.errors import UserError, nearest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it calls home at import otherwise
import albumentations as A

MIRROR = cv2.BORDER_REFLECT_101


@dataclass(frozen=True)
class Steps:
    warp: list = field(default_factory=list)     # on the large square, before the resize
    rest: list = field(default_factory=list)     # at the model's size


def _flips() -> list:
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def _colour(strength: float = 0.2, hue: float = 0.1) -> A.ColorJitter:
    spread = (1 - strength, 1 + strength)
    return A.ColorJitter(brightness=spread, contrast=spread, saturation=spread, hue=(-hue, hue), p=1.0)


def _rotation() -> Steps:
    return Steps([A.Affine(rotate=(-30, 30), border_mode=MIRROR, p=1.0)], _flips())


def _paper() -> Steps:
    """The full recipe of Sharif's paper; its rotation and affine are one warp, so pixels are resampled once."""
    move = A.Affine(rotate=(-30, 30), translate_percent=(-0.1, 0.1), scale=(0.9, 1.1), keep_ratio=True,
                    border_mode=MIRROR, p=1.0)
    return Steps([move], [*_flips(), _colour()])


def _heavy() -> Steps:
    move = A.Affine(rotate=(-45, 45), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), shear=(-8, 8),
                    keep_ratio=True, border_mode=MIRROR, p=0.8)
    # elastic would take 4 ms on the large square; at 15 % of the images its blur is no difference to learn
    bend = A.OneOf([A.ElasticTransform(alpha=40, sigma=6, border_mode=MIRROR, p=1.0),
                    A.GridDistortion(num_steps=5, distort_limit=(-0.2, 0.2), border_mode=MIRROR, p=1.0)], p=0.3)
    grain = A.OneOf([A.GaussianBlur(blur_limit=(3, 5), p=1.0), A.GaussNoise(std_range=(0.02, 0.08), p=1.0)], p=0.4)
    holes = A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.06, 0.2), hole_width_range=(0.06, 0.2),
                            fill=0, p=0.4)
    return Steps([move], [A.D4(p=1.0), bend, _colour(0.25), grain, holes])


class AreaCrop(A.ImageOnlyTransform):
    """A square window anywhere, with 90 to 100 % of the area, left for the policy to resize: albumentations' own
    crops want its size in pixels, which a policy does not know, or stretch the image."""

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        whole = min(params["shape"][:2])
        side = math.ceil(whole * math.sqrt(self.py_random.uniform(0.9, 1.0)))
        top, left = (self.py_random.randint(0, length - side) for length in params["shape"][:2])
        return {"side": side, "top": top, "left": left}

    def apply(self, img: np.ndarray, side: int, top: int, left: int, **_) -> np.ndarray:
        return img[top:top + side, left:left + side]


def _karakus() -> Steps:
    """Karakus's augmentation. The paper gives no odds: each of the eight views of a square (its quarter turns and
    flip) is as likely as the others, and the share kept is uniform."""
    return Steps([AreaCrop(p=1.0)], [A.D4(p=1.0)])


def _gupta() -> Steps:
    """What Gupta's paper oversamples with: flip, rotation, zoom. It gives no numbers: those of `paper` are taken."""
    move = A.Affine(rotate=(-30, 30), scale=(0.9, 1.1), keep_ratio=True, border_mode=MIRROR, p=1.0)
    return Steps([move], _flips())


POLICIES: dict[str, Callable[[], Steps]] = {
    "none": Steps, "flips": lambda: Steps(rest=_flips()), "rotation": _rotation, "paper": _paper, "heavy": _heavy,
    "karakus": _karakus, "gupta": _gupta}


class Policy:
    """`policy(square, size, seed)`: a pure function of its arguments, whatever ran before and in whichever process."""

    def __init__(self, name: str):
        check_policy(name)
        self.name = name
        steps = strict(POLICIES[name])
        self._warp, self._rest = (A.Compose(part) if part else None for part in (steps.warp, steps.rest))

    def __call__(self, square: np.ndarray, size: int, seed: int) -> np.ndarray:
        # Not set_random_seed(): in 2.0.8 it gives every transform a generator of its own with the same seed, so
        # two flips at p=0.5 always agree (2 of the 4 outcomes in 2,000 draws). One shared generator does not.
        generators = np.random.default_rng(seed), random.Random(seed)
        if self._warp:
            self._warp.set_random_state(*generators)
            square = self._warp(image=resize(square, min(len(square), 2 * size)))["image"]
        pixels = resize(square, size)
        if self._rest:
            self._rest.set_random_state(*generators)
            pixels = self._rest(image=pixels)["image"]
        return pixels


def strict(build: Callable[[], Steps]) -> Steps:
    """albumentations only warns of a wrong argument and goes on with its default; here that is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build()


def check_policy(name: str) -> None:
    if name not in POLICIES:
        raise UserError(f"augment.policy: there is no {name}{nearest(name, POLICIES)}")
