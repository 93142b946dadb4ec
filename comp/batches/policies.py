"""Named augmentation policies, as numbers.

Two modules apply them: `augment_image.py`, one image at a time with albumentations, and `augment_batch.py`, whole
batches on the training's device.

Numbers that the papers do not give (translation, scale, border) are our choice: 10 %, 0.9 to 1.1, and a mirrored
border, because black corners would be a feature that no test image has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comp.errors import UserError, did_you_mean


@dataclass(frozen=True)
class AugmentPolicy:
    """The transforms of a policy in the order of their application; a probability of 0 is never, 1 is always."""

    min_crop_area: float = 1.0  # a square crop at a random position keeps from this share of the area to all of it
    affine_prob: float = 0.0  # rotation, translation, scaling and shear together
    rotate_degrees: float = 0.0  # in either direction
    translate: float = 0.0  # share of the side, in either direction
    scale: float = 0.0  # 0.1: by a factor from 0.9 to 1.1
    shear_degrees: float = 0.0  # along each axis, in either direction
    symmetry: Literal["one", "flips", "d4"] = "one"  # none, both flips, or quarter turns too
    distort_prob: float = 0.0  # an elastic or a grid distortion, with equal probability
    colour_jitter: float = 0.0  # change brightness, contrast and saturation by up to this share, and hue
    blur_or_noise_prob: float = 0.0  # one of the two, with equal probability
    cutout_prob: float = 0.0
    # the strength of these transforms
    grid_distortion: tuple[int, float] = (5, 0.2)  # cells per side, and the relative change of their widths
    hue: float = 0.1  # share of the colour circle
    blur_sigma: tuple[float, float] = (0.5, 3.0)  # in pixels of the model's image, cut off after 1 or 2
    noise_std: tuple[float, float] = (0.02, 0.08)  # as a share of white
    cutout_count: tuple[int, int] = (1, 4)
    cutout_size: tuple[float, float] = (0.06, 0.2)  # height and width, as shares of the side


ELASTIC_ALPHA, ELASTIC_SIGMA = 40, 6  # parameters of albumentations, in pixels of the model's image

POLICIES = {
    "none": AugmentPolicy(),
    "flips": AugmentPolicy(symmetry="flips"),
    "d4": AugmentPolicy(symmetry="d4"),
    "rotation": AugmentPolicy(affine_prob=1, rotate_degrees=30, symmetry="flips"),
    # For images without an up and a down, such as cells: every angle, and the position and size of the object.
    "any_angle": AugmentPolicy(affine_prob=1, rotate_degrees=180, translate=0.05, scale=0.1, symmetry="flips"),
    # Cells whose stain and light differ from slide to slide.
    "stain": AugmentPolicy(symmetry="d4", colour_jitter=0.1, hue=0.02),
    # The full augmentation of Sharif's paper. Its rotation and affine map are one warp, so pixels are resampled once.
    "paper": AugmentPolicy(
        affine_prob=1, rotate_degrees=30, translate=0.1, scale=0.1, symmetry="flips", colour_jitter=0.2
    ),
    "heavy": AugmentPolicy(
        affine_prob=0.8,
        rotate_degrees=45,
        translate=0.1,
        scale=0.2,
        shear_degrees=8,
        symmetry="d4",
        distort_prob=0.3,
        colour_jitter=0.25,
        blur_or_noise_prob=0.4,
        cutout_prob=0.4,
    ),
    # Karakus's paper gives no probabilities: the eight symmetries of a square (quarter turns and a flip) are equally
    # likely, and the share of the area that a crop keeps is uniform.
    "karakus": AugmentPolicy(min_crop_area=0.9, symmetry="d4"),
    # Gupta's paper oversamples with flip, rotation and zoom, and gives no numbers: these are those of `paper`.
    "gupta": AugmentPolicy(affine_prob=1, rotate_degrees=30, scale=0.1, symmetry="flips"),
}


def check_policy(name: str) -> None:
    """Raise a UserError unless there is a policy of this name."""
    if name not in POLICIES:
        raise UserError(f"augment.policy: there is no {name}{did_you_mean(name, POLICIES)}")
