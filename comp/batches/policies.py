"""Named augmentation policies, in numbers. Two files carry them out and read the same numbers: `augment.py`, one image
at a time with albumentations, and `batch_augment.py`, whole batches on the training's device.

Numbers the papers do not give (translation, scale, border) are chosen here: 10 %, 0.9-1.1, and mirrored, for black
corners would be a feature no test image has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comp.errors import UserError, did_you_mean


@dataclass(frozen=True)
class AugmentPolicy:
    """What a policy does to an image, in this order, and how often: 0 is never, 1 always."""

    window: float = 1.0  # a square window anywhere keeps from this share of the area to all of it
    move: float = 0.0  # how often it is turned, shifted, zoomed and sheared
    turn: float = 0.0  # degrees to either side
    shift: float = 0.0  # share of the side, either way
    zoom: float = 0.0  # 0.1: from 0.9 to 1.1 times as large
    shear: float = 0.0  # degrees, in each direction
    views: Literal["one", "flips", "d4"] = "one"  # d4: quarter turns too
    bend: float = 0.0  # how often it is bent, elastically or along a grid, with equal odds
    colour: float = 0.0  # brightness, contrast and saturation by up to this share, and hue
    grain: float = 0.0  # how often it is blurred or gets noise, with equal odds
    holes: float = 0.0  # how often pieces are cut out
    # how strong these are where they happen
    grid: tuple[int, float] = (5, 0.2)  # cells to a side, and by how much of one their widths differ
    hue: float = 0.1  # of the whole circle
    blur: tuple[float, float] = (0.5, 3.0)  # sigma in pixels of the model's image, cut off after 1 or 2
    noise: tuple[float, float] = (0.02, 0.08)  # standard deviation, as a share of white
    pieces: tuple[int, int] = (1, 4)  # how many
    piece: tuple[float, float] = (0.06, 0.2)  # height and width, as shares of the side


ELASTIC_ALPHA, ELASTIC_SIGMA = 40, 6  # of albumentations, in pixels of the model's image

POLICIES = {
    "none": AugmentPolicy(),
    "flips": AugmentPolicy(views="flips"),
    "rotation": AugmentPolicy(move=1, turn=30, views="flips"),
    # the full recipe of Sharif's paper; its rotation and affine are one warp, so pixels are resampled once
    "paper": AugmentPolicy(move=1, turn=30, shift=0.1, zoom=0.1, views="flips", colour=0.2),
    "heavy": AugmentPolicy(
        move=0.8, turn=45, shift=0.1, zoom=0.2, shear=8, views="d4", bend=0.3, colour=0.25, grain=0.4, holes=0.4
    ),
    # Karakus's paper gives no odds: each of the eight views of a square (its quarter turns and flip) is as likely as
    # the others, and the share kept is uniform
    "karakus": AugmentPolicy(window=0.9, views="d4"),
    # what Gupta's paper oversamples with: flip, rotation, zoom. It gives no numbers: those of `paper` are taken
    "gupta": AugmentPolicy(move=1, turn=30, zoom=0.1, views="flips"),
}


def check_policy(name: str) -> None:
    if name not in POLICIES:
        raise UserError(f"augment.policy: there is no {name}{did_you_mean(name, POLICIES)}")
