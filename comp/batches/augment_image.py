"""The policies carried out one image at a time, on the CPU; the only file that names albumentations.

A policy has two parts. What resamples pixels (rotation, shift, scale) works on the cached square at up to twice the
model's size and is resized after; the rest works at the model's size. Warping at the model's size is 0.3 ms faster
and blurs every training image while no validation image is blurred: rotation at 64 px then costs 10 points of
accuracy (0.834 instead of 0.934 after 8 epochs of fold 0).
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

from comp.batches.policies import ELASTIC_ALPHA, ELASTIC_SIGMA, POLICIES, AugmentPolicy, check_policy
from comp.data.images import resize

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it calls home at import otherwise
import albumentations as A

MIRROR = cv2.BORDER_REFLECT_101


@dataclass(frozen=True)
class Transforms:
    warp: list = field(default_factory=list)  # on the large square, before the resize
    rest: list = field(default_factory=list)  # at the model's size


class AreaCrop(A.ImageOnlyTransform):
    """A square window anywhere, with that share of the area or more, left for the policy to resize: albumentations'
    own crops want its size in pixels, which a policy does not know, or stretch the image."""

    def __init__(self, least: float):
        super().__init__(p=1.0)
        self.least = least

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        whole = min(params["shape"][:2])
        side = math.ceil(whole * math.sqrt(self.py_random.uniform(self.least, 1.0)))
        top, left = (self.py_random.randint(0, length - side) for length in params["shape"][:2])
        return {"side": side, "top": top, "left": left}

    def apply(self, img: np.ndarray, side: int, top: int, left: int, **_) -> np.ndarray:
        return img[top : top + side, left : left + side]


def build_transforms(recipe: AugmentPolicy) -> Transforms:
    """The recipe in albumentations' words."""
    warp = [AreaCrop(recipe.window)] if recipe.window < 1 else []
    if recipe.move:
        shift = {"translate_percent": (-recipe.shift, recipe.shift)} if recipe.shift else {}
        warp.append(
            A.Affine(
                rotate=(-recipe.turn, recipe.turn),
                scale=(1 - recipe.zoom, 1 + recipe.zoom),
                **shift,
                shear=(-recipe.shear, recipe.shear),
                keep_ratio=True,
                border_mode=MIRROR,
                p=recipe.move,
            )
        )
    views = {"one": [], "flips": [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)], "d4": [A.D4(p=1.0)]}
    rest = list(views[recipe.views])
    if recipe.bend:  # elastic would take 4 ms on the large square; at 15 % of the images its blur is nothing to learn
        cells, limit = recipe.grid
        rest.append(
            A.OneOf(
                [
                    A.ElasticTransform(alpha=ELASTIC_ALPHA, sigma=ELASTIC_SIGMA, border_mode=MIRROR, p=1.0),
                    A.GridDistortion(num_steps=cells, distort_limit=(-limit, limit), border_mode=MIRROR, p=1.0),
                ],
                p=recipe.bend,
            )
        )
    if recipe.colour:
        spread = (1 - recipe.colour, 1 + recipe.colour)
        rest.append(
            A.ColorJitter(brightness=spread, contrast=spread, saturation=spread, hue=(-recipe.hue, recipe.hue), p=1.0)
        )
    if recipe.grain:
        rest.append(
            A.OneOf(
                [
                    A.GaussianBlur(blur_limit=(3, 5), sigma_limit=recipe.blur, p=1.0),
                    A.GaussNoise(std_range=recipe.noise, p=1.0),
                ],
                p=recipe.grain,
            )
        )
    if recipe.holes:
        rest.append(
            A.CoarseDropout(
                num_holes_range=recipe.pieces,
                hole_height_range=recipe.piece,
                hole_width_range=recipe.piece,
                fill=0,
                p=recipe.holes,
            )
        )
    return Transforms(warp, rest)


class ImageAugmenter:
    """`policy(square, size, seed)`: a pure function of its arguments, whatever ran before and in whichever process."""

    def __init__(self, name: str):
        check_policy(name)
        self.name = name
        steps = warnings_as_errors(lambda: build_transforms(POLICIES[name]))
        self._warp, self._rest = (A.Compose(part) if part else None for part in (steps.warp, steps.rest))

    def __call__(self, square: np.ndarray, size: int, seed: int) -> np.ndarray:
        # Not set_random_seed(): in 2.0.8 it gives every transform a generator of its own with the same seed, so
        # two flips at p=0.5 always agree (2 of the 4 outcomes in 2,000 draws). One shared generator does not.
        generators = np.random.default_rng(seed), random.Random(seed)
        if self._warp:
            self._warp.set_random_state(*generators)
            # with an idle fourth channel OpenCV warps in 0.19 ms instead of 0.37, to the same bits
            square = cv2.cvtColor(resize(square, min(len(square), 2 * size)), cv2.COLOR_RGB2RGBA)
            square = cv2.cvtColor(self._warp(image=square)["image"], cv2.COLOR_RGBA2RGB)
        pixels = resize(square, size)
        if self._rest:
            self._rest.set_random_state(*generators)
            pixels = self._rest(image=pixels)["image"]
        return pixels


def warnings_as_errors(build: Callable[[], Transforms]) -> Transforms:
    """albumentations only warns of a wrong argument and goes on with its default; here that is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build()
