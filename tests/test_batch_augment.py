"""The policies on whole batches: the same odds and strengths as one image at a time, to be seen in the pictures."""

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


def by_batch(recipe: AugmentPolicy, squares: np.ndarray, size: int, epoch: int = 0) -> np.ndarray:
    draws = sample_transforms(recipe, uniform_rows((0, 0), epoch, range(len(squares))), size)
    return augment_batch(torch.from_numpy(squares), draws, size).permute(0, 2, 3, 1).numpy()


def one_by_one(recipe: AugmentPolicy, squares: np.ndarray, size: int, epoch: int = 0) -> np.ndarray:
    POLICIES["test"] = recipe
    policy = ImageAugmenter("test")
    del POLICIES["test"]
    return np.stack([policy(square, size, epoch * 10_000 + place) for place, square in enumerate(squares)])


def still(count: int, size: int, **changed) -> SampledTransforms:
    """Draws that change nothing, but for what is given for the first image."""
    draws = sample_transforms(AugmentPolicy(), uniform_rows((0, 0), 0, range(count)), size)
    arrays = {name: getattr(draws, name).astype(float) for name in changed}
    for name, value in changed.items():
        arrays[name][0] = value
    return replace(draws, **arrays)


def sharpness(pictures: np.ndarray) -> float:
    return float(np.mean([np.abs(cv2.Laplacian(np.float32(picture), cv2.CV_32F)).mean() for picture in pictures]))


def differ(a, b) -> float:
    """Kolmogorov's distance of two samples: two of 400 from one distribution are within 0.115 99 times of 100."""
    both = np.sort([*a, *b])
    shares = [np.searchsorted(np.sort(sample), both, side="right") / len(sample) for sample in (a, b)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize(("size", "most"), [(64, 1), (96, 10), (128, 1), (224, 1), (256, 0.01)])
def test_without_a_policy_it_is_the_resize_of_evaluation(squares, size, most):
    expected = np.stack([resize(square, size) for square in squares]).astype(float)
    apart = np.abs(by_batch(POLICIES["none"], squares, size) - expected)
    assert apart.max() <= most and apart.mean() < 0.5


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", POLICIES)
def test_both_ways_give_alike_pictures(squares, name, size):
    """Mean, contrast, sharpness. The last bounds say what is known to differ: see the two files' first lines."""
    epochs = range(8 if size == 64 else 2)
    batch, single = (
        np.concatenate([way(POLICIES[name], squares, size, epoch) for epoch in epochs])
        for way in (by_batch, one_by_one)
    )
    plain = sharpness(one_by_one(POLICIES["none"], squares, size))
    assert batch.shape == single.shape
    # a draw of colours moves a picture's mean by 25 grey levels: 64 of them leave this much to chance
    mean, contrast = (6, 0.15) if POLICIES[name].colour else (1, 0.03)
    assert np.abs(batch.mean((0, 1, 2)) - single.mean((0, 1, 2))).max() < mean
    assert np.abs(batch.std((1, 2)).mean(0) / single.std((1, 2)).mean(0) - 1).max() < contrast
    assert 0.8 < sharpness(batch) / sharpness(single) < 1.25
    assert POLICIES[name].grain or 0.8 < sharpness(batch) / plain < 1.25  # as sharp as what validation sees


def test_a_sample_is_the_same_in_whatever_batch_it_comes(squares):
    recipe, images = POLICIES["heavy"], torch.from_numpy(squares)
    whole = augment_batch(images, sample_transforms(recipe, uniform_rows((42, 1), 3, range(5, 37)), 64), 64)
    for places in ([5, 6, 7], [30, 9, 21], [36]):
        part = augment_batch(
            images[[place - 5 for place in places]], sample_transforms(recipe, uniform_rows((42, 1), 3, places), 64), 64
        )
        assert torch.allclose(part, whole[[place - 5 for place in places]], atol=0.01)
    for stream, epoch in (((42, 1), 4), ((42, 2), 3), ((43, 1), 3)):
        other = augment_batch(images, sample_transforms(recipe, uniform_rows(stream, epoch, range(5, 37)), 64), 64)
        assert min((a - b).abs().max() for a, b in zip(whole, other, strict=True)) > 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_pictures_of_a_cpu(squares):
    draws, images = (
        sample_transforms(POLICIES["heavy"], uniform_rows((42, 1), 3, range(len(squares))), 64),
        torch.from_numpy(squares),
    )
    assert (augment_batch(images.cuda(), draws, 64).cpu() - augment_batch(images, draws, 64)).abs().mean() < 0.05


def moves(pictures: np.ndarray, plain: np.ndarray) -> dict[str, np.ndarray]:
    """What was done to RAMP, whose pixels say where they were: fitted to the middle, which no border reaches."""
    size = pictures.shape[1]
    middle = slice(size // 3, size - size // 3)
    down, right = np.mgrid[middle, middle].reshape(2, -1) - (size - 1) / 2
    known = np.stack([right, down, np.ones(len(down))], 1)
    fits = np.stack(
        [
            np.linalg.lstsq(known, picture[middle, middle, :2].reshape(-1, 2).astype(float), rcond=None)[0]
            for picture in (plain, *pictures)
        ]
    )
    back, shift = fits[1:, :2].swapaxes(1, 2) * size / SIDE, fits[1:, 2] - fits[0, 2]
    return {
        "turn": np.arctan2(back[:, 0, 1], back[:, 0, 0]),
        "area": np.linalg.det(back),
        "shift": shift.ravel(),
        "shear": (back[:, :, 0] * back[:, :, 1]).sum(1),
    }


@pytest.mark.parametrize(
    "recipe",
    [
        AugmentPolicy(move=1, turn=30),
        AugmentPolicy(move=1, turn=30, shift=0.1, zoom=0.1),
        AugmentPolicy(move=0.8, turn=45, shift=0.1, zoom=0.2, shear=8),
        AugmentPolicy(window=0.9),
    ],
    ids=["turn", "all", "more", "window"],
)
def test_images_move_as_often_and_as_far(recipe):
    ramps = np.stack([RAMP] * 200)
    batch, single = (
        moves(
            np.concatenate([way(recipe, ramps, 64, epoch) for epoch in range(2)]),
            way(AugmentPolicy(), ramps[:1], 64)[0],
        )
        for way in (by_batch, one_by_one)
    )
    for what in batch:
        apart = np.abs(np.quantile(batch[what], [0, 0.01, 0.99, 1]) - np.quantile(single[what], [0, 0.01, 0.99, 1]))
        width = np.ptp(single[what])
        nothing = 1.5 if what == "shift" else 0.02  # what is fitted to a still image is rounding
        assert apart.max() < max(0.1 * width, nothing), what
        alike = 0.25 if recipe.window < 1 else 0.14  # a window there has 7 sides to choose from, of whole pixels
        assert width < nothing or differ(batch[what].round(3), single[what].round(3)) < alike, what


def test_a_matrix_does_what_opencv_makes_of_it(squares):
    """To a fraction of a pixel, and mirrored at the border in the same way."""
    square = cv2.GaussianBlur(squares[0], (0, 0), 2)
    back = np.array([[0.8, 0.3, 0.4], [-0.35, 0.9, -0.5]])  # from places in the result to places in the square
    middle = (SIDE - 1) / 2
    pixels = np.hstack([back[:, :2], back[:, 2:] * SIDE / 2 + middle - back[:, :2] @ [[middle], [middle]]])
    expected = cv2.warpAffine(
        square, pixels, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    ours = augment_batch(torch.from_numpy(square[None]), still(1, SIDE, matrix=back), SIDE)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).mean() < 0.5 and np.abs(ours - expected).max() < 5


@pytest.mark.parametrize(("views", "number"), [("flips", 4), ("d4", 8)])
def test_the_views_of_a_square_are_exact_and_equally_likely(squares, views, number):
    square = np.ascontiguousarray(squares[0][::8, ::8])
    known = {
        np.rot90(side, turns).tobytes(): 2 * turns + mirrored
        for turns in range(4)
        for mirrored, side in enumerate((square, square[:, ::-1]))
    }
    made = by_batch(AugmentPolicy(views=views), np.stack([square] * 400), 32).round().astype(np.uint8)
    seen = Counter(known[picture.tobytes()] for picture in made)
    assert len(seen) == number and min(seen.values()) > 0.6 * 400 / number


def test_bends_are_as_strong():
    ramps = np.stack([RAMP] * 150)
    far = [
        np.abs(way(AugmentPolicy(bend=1), ramps, 128) - way(AugmentPolicy(), ramps, 128).astype(float))[
            :, 8:-8, 8:-8, :2
        ].mean((1, 2, 3))
        for way in (by_batch, one_by_one)
    ]
    elastic, grid = ([moved[(moved < 1) == weak] for moved in far] for weak in (True, False))
    for kind in (elastic, grid):
        assert all(0.35 < len(moved) / 150 < 0.65 for moved in kind)
        assert 0.8 < kind[0].mean() / kind[1].mean() < 1.25


@pytest.mark.parametrize("flat", [(120, 120, 120), (200, 160, 180), (150, 90, 140)])
def test_colours_spread_as_far(flat):
    """No outright equality: albumentations clips and rounds in between, and keeps another value of a turned hue."""
    recipe = AugmentPolicy(colour=0.2)
    images = np.full((400, 16, 16, 3), flat, np.uint8)
    batch, single = (way(recipe, images, 16)[:, 0, 0].astype(float) for way in (by_batch, one_by_one))
    assert np.abs(batch.mean(0) - single.mean(0)).max() < 5
    assert np.abs(batch.std(0) - single.std(0)).max() < 5
    if len(set(flat)) == 1:
        assert np.ptp(batch, 1).max() < 0.01  # grey stays grey


def test_contrast_pulls_towards_the_mean_grey():
    """By hand: a picture of two greys, 100 and 140."""
    image = np.full((1, 16, 16, 3), 100, np.uint8)
    image[:, :, 8:] = 140
    seen = set()
    for column in range(64):
        rows = np.full((1, 64), 0.5)  # the middle of every range changes nothing
        rows[0, column] = 1
        made = augment_batch(torch.from_numpy(image), sample_transforms(AugmentPolicy(colour=0.2), rows, 16), 16)[
            0, 0, 0, [0, -1]
        ]
        seen.add(tuple(made.round().tolist()))
    assert seen == {(100, 140), (120, 168), (96, 144)}  # nothing; brightness 1.2; contrast 1.2


@pytest.mark.parametrize(("sigma", "reach"), [(0.5, 1), (0.5, 2), (3.0, 1), (3.0, 2)])
def test_blur_is_opencvs(squares, sigma, reach):
    expected = cv2.GaussianBlur(squares[0].astype(np.float32), (2 * reach + 1,) * 2, sigma)
    ours = augment_batch(torch.from_numpy(squares[:3]), still(3, SIDE, sigma=sigma, reach=reach), SIDE)
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - expected).max() < 0.01
    assert np.abs(ours[1:].permute(0, 2, 3, 1).numpy() - squares[1:3]).max() < 0.01


def test_noise_is_normal_and_everybodys_own():
    grey = torch.full((200, 32, 32, 3), 128, dtype=torch.uint8)
    draws = sample_transforms(AugmentPolicy(grain=1), uniform_rows((1, 1), 0, range(200)), 32)
    made = augment_batch(grey, draws, 32).double() - 128
    noisy = made.std((1, 2, 3)).numpy()
    assert np.allclose(noisy[draws.noise > 0], draws.noise[draws.noise > 0], rtol=0.06)
    assert noisy[draws.noise == 0].max() < 1e-4 and 70 < (draws.noise == 0).sum() < 130
    assert 5 < draws.noise[draws.noise > 0].min() < 6 and 19.5 < draws.noise.max() < 20.4
    grains = made[torch.from_numpy(draws.noise > 0)].flatten(1)
    assert torch.corrcoef(grains).fill_diagonal_(0).abs().max() < 0.12
    assert grains.mean().abs() < 0.1 and abs((grains / grains.std(1, keepdim=True)).pow(4).mean() - 3) < 0.1


def test_holes_are_as_many_and_as_large():
    white = np.full((300, 64, 64, 3), 255, np.uint8)
    shares = [(way(AugmentPolicy(holes=0.4), white, 64)[..., 0] == 0).mean((1, 2)) for way in (by_batch, one_by_one)]
    whole = [(share == 0).mean() for share in shares]
    assert np.abs(np.array(whole) - 0.6).max() < 0.08
    assert differ(*(share[share > 0] for share in shares)) < 0.2
    assert 0.8 < shares[0].mean() / shares[1].mean() < 1.25


def test_copies_under_another_policy_take_their_draws_from_it(squares):
    rows = uniform_rows((1, 1), 0, range(len(squares)))
    one, other = sample_transforms(POLICIES["heavy"], rows, 64), sample_transforms(POLICIES["none"], rows, 64)
    where = np.arange(len(squares)) % 2 == 0
    mixed = augment_batch(torch.from_numpy(squares), one.replaced(where, other), 64)
    for chosen, draws in ((where, other), (~where, one)):
        alone = augment_batch(torch.from_numpy(squares), draws, 64)
        assert torch.allclose(mixed[torch.from_numpy(chosen)], alone[torch.from_numpy(chosen)], atol=0.01)
