"""Augmentation of whole batches: the same probabilities and strengths as one image at a time, measured in pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from comp.batches.augment_batch import augment_batch
from comp.batches.augment_image import ImageAugmenter
from comp.batches.augment_sampling import SampledTransforms, sample_transforms, uniform_rows
from comp.batches.policies import POLICIES, AugmentPolicy
from comp.data.images import SquareSpec, read_image, resize

SIDE = 256
RAMP = np.dstack([*np.meshgrid(np.arange(SIDE), np.arange(SIDE)), np.full((SIDE, SIDE), 128)]).astype(np.uint8)


@pytest.fixture(scope="module")
def squares(tiny_dataset) -> np.ndarray:
    """32 drawn cells of all classes, 256 px."""
    return np.stack([SquareSpec(SIDE)(read_image(file)) for file in sorted(tiny_dataset.glob("train/*/*"))[::3] * 2])


def in_one_batch(policy: AugmentPolicy, squares: np.ndarray, size: int, epoch: int = 0) -> np.ndarray:
    transforms = sample_transforms(policy, uniform_rows((0, 0), epoch, range(len(squares))), size)
    return augment_batch(torch.from_numpy(squares), transforms, size).permute(0, 2, 3, 1).numpy()


def one_by_one(policy: AugmentPolicy, squares: np.ndarray, size: int, epoch: int = 0) -> np.ndarray:
    POLICIES["test"] = policy
    augmenter = ImageAugmenter("test")
    del POLICIES["test"]
    return np.stack([augmenter(square, size, epoch * 10_000 + position) for position, square in enumerate(squares)])


def identity(count: int, size: int, **changed) -> SampledTransforms:
    """Transforms that change nothing, except for those given, of the first image."""
    transforms = sample_transforms(AugmentPolicy(), uniform_rows((0, 0), 0, range(count)), size)
    arrays = {name: getattr(transforms, name).astype(float) for name in changed}
    for name, value in changed.items():
        arrays[name][0] = value
    return replace(transforms, **arrays)


def sharpness(images: np.ndarray) -> float:
    return float(np.mean([np.abs(cv2.Laplacian(np.float32(image), cv2.CV_32F)).mean() for image in images]))


def kolmogorov_distance(a, b) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples.

    Two samples of 400 from the same distribution are closer than 0.115 in 99 of 100 cases.
    """
    both = np.sort([*a, *b])
    shares = [np.searchsorted(np.sort(sample), both, side="right") / len(sample) for sample in (a, b)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize(("size", "max_difference"), [(64, 1), (96, 10), (128, 1), (224, 1), (256, 0.01)])
def test_augment_batch_policy_none_equals_evaluation_resize(squares, size, max_difference):
    expected = np.stack([resize(square, size) for square in squares]).astype(float)
    difference = np.abs(in_one_batch(POLICIES["none"], squares, size) - expected)
    assert difference.max() <= max_difference and difference.mean() < 0.5


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", POLICIES)
def test_augment_batch_matches_image_augmenter_in_mean_contrast_and_sharpness(squares, name, size):
    """The bounds allow the known differences: see the first lines of the two modules."""
    epochs = range(8 if size == 64 else 2)
    batch, single = (
        np.concatenate([augment(POLICIES[name], squares, size, epoch) for epoch in epochs])
        for augment in (in_one_batch, one_by_one)
    )
    plain = sharpness(one_by_one(POLICIES["none"], squares, size))
    assert batch.shape == single.shape
    # One sampled colour moves an image's mean by 25 grey levels: 64 of them leave this much to chance.
    mean, contrast = (6, 0.15) if POLICIES[name].colour_jitter else (1, 0.03)
    assert np.abs(batch.mean((0, 1, 2)) - single.mean((0, 1, 2))).max() < mean
    assert np.abs(batch.std((1, 2)).mean(0) / single.std((1, 2)).mean(0) - 1).max() < contrast
    assert 0.8 < sharpness(batch) / sharpness(single) < 1.25
    # as sharp as the images of validation
    assert POLICIES[name].blur_or_noise_prob or 0.8 < sharpness(batch) / plain < 1.25


def test_augment_batch_image_does_not_depend_on_its_batch(squares):
    policy, images = POLICIES["heavy"], torch.from_numpy(squares)
    whole = augment_batch(images, sample_transforms(policy, uniform_rows((42, 1), 3, range(5, 37)), 64), 64)
    for positions in ([5, 6, 7], [30, 9, 21], [36]):
        indices = [position - 5 for position in positions]
        transforms = sample_transforms(policy, uniform_rows((42, 1), 3, positions), 64)
        assert torch.allclose(augment_batch(images[indices], transforms, 64), whole[indices], atol=0.01)
    for rng_key, epoch in (((42, 1), 4), ((42, 2), 3), ((43, 1), 3)):
        other = augment_batch(images, sample_transforms(policy, uniform_rows(rng_key, epoch, range(5, 37)), 64), 64)
        assert min((a - b).abs().max() for a, b in zip(whole, other, strict=True)) > 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_augment_batch_gpu_matches_cpu(squares):
    transforms = sample_transforms(POLICIES["heavy"], uniform_rows((42, 1), 3, range(len(squares))), 64)
    images = torch.from_numpy(squares)
    difference = augment_batch(images.cuda(), transforms, 64).cpu() - augment_batch(images, transforms, 64)
    assert difference.abs().mean() < 0.05


def measure_geometry(images: np.ndarray, plain: np.ndarray) -> dict[str, np.ndarray]:
    """Measure the affine map of each augmented RAMP, whose pixels contain their own coordinates.

    It is fitted to the middle of the image, which no border reaches.
    """
    size = images.shape[1]
    middle = slice(size // 3, size - size // 3)
    y, x = np.mgrid[middle, middle].reshape(2, -1) - (size - 1) / 2
    coordinates = np.stack([x, y, np.ones(len(y))], 1)
    fits = np.stack(
        [
            np.linalg.lstsq(coordinates, image[middle, middle, :2].reshape(-1, 2).astype(float), rcond=None)[0]
            for image in (plain, *images)
        ]
    )
    backward, translation = fits[1:, :2].swapaxes(1, 2) * size / SIDE, fits[1:, 2] - fits[0, 2]
    return {
        "rotation": np.arctan2(backward[:, 0, 1], backward[:, 0, 0]),
        "area": np.linalg.det(backward),
        "translation": translation.ravel(),
        "shear": (backward[:, :, 0] * backward[:, :, 1]).sum(1),
    }


@pytest.mark.parametrize(
    "policy",
    [
        AugmentPolicy(affine_prob=1, rotate_degrees=30),
        AugmentPolicy(affine_prob=1, rotate_degrees=30, translate=0.1, scale=0.1),
        AugmentPolicy(affine_prob=0.8, rotate_degrees=45, translate=0.1, scale=0.2, shear_degrees=8),
        AugmentPolicy(min_crop_area=0.9),
    ],
    ids=["rotation", "affine", "affine_with_shear", "crop"],
)
def test_augment_batch_geometry_has_the_distribution_of_image_augmenter(policy):
    ramps = np.stack([RAMP] * 200)
    batch, single = (
        measure_geometry(
            np.concatenate([augment(policy, ramps, 64, epoch) for epoch in range(2)]),
            augment(AugmentPolicy(), ramps[:1], 64)[0],
        )
        for augment in (in_one_batch, one_by_one)
    )
    for name in batch:
        levels = [0, 0.01, 0.99, 1]
        difference = np.abs(np.quantile(batch[name], levels) - np.quantile(single[name], levels))
        width = np.ptp(single[name])
        rounding = 1.5 if name == "translation" else 0.02  # error of the measurement on an image that did not move
        assert difference.max() < max(0.1 * width, rounding), name
        # albumentations crops whole pixels, so a crop there has one of 7 sides
        max_distance = 0.25 if policy.min_crop_area < 1 else 0.14
        distance = kolmogorov_distance(batch[name].round(3), single[name].round(3))
        assert width < rounding or distance < max_distance, name


def test_augment_batch_matrix_matches_opencv_warp(squares):
    """Positions agree to a fraction of a pixel, and borders are mirrored in the same way."""
    square = cv2.GaussianBlur(squares[0], (0, 0), 2)
    matrix = np.array([[0.8, 0.3, 0.4], [-0.35, 0.9, -0.5]])  # from the result to the square
    middle = (SIDE - 1) / 2
    in_pixels = np.hstack([matrix[:, :2], matrix[:, 2:] * SIDE / 2 + middle - matrix[:, :2] @ [[middle], [middle]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(square, in_pixels, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101, flags=flags)
    image = augment_batch(torch.from_numpy(square[None]), identity(1, SIDE, matrix=matrix), SIDE)[0].permute(1, 2, 0)
    assert np.abs(image.numpy() - expected).mean() < 0.5 and np.abs(image.numpy() - expected).max() < 5


@pytest.mark.parametrize(("symmetry", "count"), [("flips", 4), ("d4", 8)])
def test_augment_batch_symmetries_are_exact_and_equally_likely(squares, symmetry, count):
    square = np.ascontiguousarray(squares[0][::8, ::8])
    views = {
        np.rot90(side, turns).tobytes(): 2 * turns + mirrored
        for turns in range(4)
        for mirrored, side in enumerate((square, square[:, ::-1]))
    }
    images = in_one_batch(AugmentPolicy(symmetry=symmetry), np.stack([square] * 400), 32).round().astype(np.uint8)
    seen = Counter(views[image.tobytes()] for image in images)
    assert len(seen) == count and min(seen.values()) > 0.6 * 400 / count


def test_augment_batch_distortions_are_as_strong_as_in_image_augmenter():
    ramps = np.stack([RAMP] * 150)
    displacements = [
        np.abs(augment(AugmentPolicy(distort_prob=1), ramps, 128) - augment(AugmentPolicy(), ramps, 128).astype(float))[
            :, 8:-8, 8:-8, :2
        ].mean((1, 2, 3))
        for augment in (in_one_batch, one_by_one)
    ]
    elastic, grid = ([sample[(sample < 1) == is_weak] for sample in displacements] for is_weak in (True, False))
    for kind in (elastic, grid):
        assert all(0.35 < len(sample) / 150 < 0.65 for sample in kind)
        assert 0.8 < kind[0].mean() / kind[1].mean() < 1.25


@pytest.mark.parametrize("flat", [(120, 120, 120), (200, 160, 180), (150, 90, 140)])
def test_augment_batch_colour_jitter_is_as_strong_as_in_image_augmenter(flat):
    """The two are not equal: albumentations clips and rounds between the steps, and rotates the hue in HSV."""
    policy = AugmentPolicy(colour_jitter=0.2)
    images = np.full((400, 16, 16, 3), flat, np.uint8)
    batch, single = (augment(policy, images, 16)[:, 0, 0].astype(float) for augment in (in_one_batch, one_by_one))
    assert np.abs(batch.mean(0) - single.mean(0)).max() < 5
    assert np.abs(batch.std(0) - single.std(0)).max() < 5
    if len(set(flat)) == 1:
        assert np.ptp(batch, 1).max() < 0.01  # grey stays grey


def test_augment_batch_contrast_moves_pixels_from_the_mean_grey():
    """Compare with values computed by hand for an image of two greys, 100 and 140."""
    image = np.full((1, 16, 16, 3), 100, np.uint8)
    image[:, :, 8:] = 140
    seen = set()
    for column in range(64):
        rows = np.full((1, 64), 0.5)  # the middle of every range changes nothing
        rows[0, column] = 1
        transforms = sample_transforms(AugmentPolicy(colour_jitter=0.2), rows, 16)
        greys = augment_batch(torch.from_numpy(image), transforms, 16)[0, 0, 0, [0, -1]]
        seen.add(tuple(greys.round().tolist()))
    assert seen == {(100, 140), (120, 168), (96, 144)}  # no change; brightness 1.2; contrast 1.2


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 1), (0.5, 2), (3.0, 1), (3.0, 2)])
def test_augment_batch_blur_matches_opencv(squares, sigma, radius):
    expected = cv2.GaussianBlur(squares[0].astype(np.float32), (2 * radius + 1,) * 2, sigma)
    transforms = identity(3, SIDE, blur_sigma=sigma, blur_radius=radius)
    images = augment_batch(torch.from_numpy(squares[:3]), transforms, SIDE).permute(0, 2, 3, 1).numpy()
    assert np.abs(images[0] - expected).max() < 0.01
    assert np.abs(images[1:] - squares[1:3]).max() < 0.01


def test_augment_batch_noise_is_normal_and_differs_between_images():
    grey = torch.full((200, 32, 32, 3), 128, dtype=torch.uint8)
    transforms = sample_transforms(AugmentPolicy(blur_or_noise_prob=1), uniform_rows((1, 1), 0, range(200)), 32)
    requested, noise = transforms.noise_std, augment_batch(grey, transforms, 32).double() - 128
    measured = noise.std((1, 2, 3)).numpy()
    assert np.allclose(measured[requested > 0], requested[requested > 0], rtol=0.06)
    assert measured[requested == 0].max() < 1e-4 and 70 < (requested == 0).sum() < 130
    assert 5 < requested[requested > 0].min() < 6 and 19.5 < requested.max() < 20.4
    values = noise[torch.from_numpy(requested > 0)].flatten(1)
    assert torch.corrcoef(values).fill_diagonal_(0).abs().max() < 0.12
    assert values.mean().abs() < 0.1 and abs((values / values.std(1, keepdim=True)).pow(4).mean() - 3) < 0.1


def test_augment_batch_cutout_is_as_frequent_and_as_large_as_in_image_augmenter():
    white = np.full((300, 64, 64, 3), 255, np.uint8)
    shares = [
        (augment(AugmentPolicy(cutout_prob=0.4), white, 64)[..., 0] == 0).mean((1, 2))
        for augment in (in_one_batch, one_by_one)
    ]
    unchanged = [(share == 0).mean() for share in shares]
    assert np.abs(np.array(unchanged) - 0.6).max() < 0.08
    assert kolmogorov_distance(*(share[share > 0] for share in shares)) < 0.2
    assert 0.8 < shares[0].mean() / shares[1].mean() < 1.25


def test_sampled_transforms_merge_takes_the_other_policy_where_masked(squares):
    rows = uniform_rows((1, 1), 0, range(len(squares)))
    heavy, none = sample_transforms(POLICIES["heavy"], rows, 64), sample_transforms(POLICIES["none"], rows, 64)
    mask = np.arange(len(squares)) % 2 == 0
    merged = augment_batch(torch.from_numpy(squares), heavy.merge(mask, none), 64)
    for selected, transforms in ((mask, none), (~mask, heavy)):
        expected = augment_batch(torch.from_numpy(squares), transforms, 64)
        selected = torch.from_numpy(selected)
        assert torch.allclose(merged[selected], expected[selected], atol=0.01)
