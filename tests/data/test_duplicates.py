"""Duplicates: every transform of an image is found, and different images are never paired."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.data import duplicates
from comp.data.duplicates import TRANSFORMS, DuplicatePair, find_duplicates, group_ids
from comp.data.image_stats import survey
from comp.data.scan import Image
from tests.data.image_files import QUALITY, make_pixels, save


def pairs_of(*images: Image) -> list[DuplicatePair]:
    return find_duplicates(survey(images))


@pytest.mark.parametrize("number", range(1, 8))
def test_find_duplicates_rotated_or_mirrored_copy_names_the_transform(tmp_path, number):
    pixels = make_pixels(5)
    copy = np.rot90(pixels[:, ::-1] if number >= 4 else pixels, -(number % 4))
    (pair,) = pairs_of(
        save(tmp_path / "a.png", pixels), save(tmp_path / "b.png", copy), save(tmp_path / "other.png", make_pixels(6))
    )
    assert (pair.a.id, pair.b.id, pair.kind, pair.transform) == ("a.png", "b.png", "near", TRANSFORMS[number])
    assert pair.similarity > 0.99


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        lambda pixels: cv2.resize(pixels, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_LINEAR),
        lambda pixels: cv2.convertScaleAbs(pixels, alpha=0.9),
        lambda pixels: pixels,
    ],
    ids=["smaller", "larger", "darker", "re-encoded"],
)
def test_find_duplicates_changed_copy_at_quality_60_is_found(tmp_path, change):
    original, other = make_pixels(3, 165, 150), make_pixels(4, 165, 150)
    images = [
        save(tmp_path / "a.jpg", original, *QUALITY),
        save(tmp_path / "c.jpg", other, *QUALITY),
        save(tmp_path / "b.jpg", change(original), cv2.IMWRITE_JPEG_QUALITY, 60),
    ]
    (pair,) = pairs_of(*images)
    assert (pair.a.id, pair.b.id, pair.kind) == ("a.jpg", "b.jpg", "near")


def test_find_duplicates_different_images_of_one_layout_are_not_paired(tmp_path):
    """Two hundred dark discs of nearly one size on pale slides: similar, but not copies."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(200):
        image = cv2.resize(rng.normal(220, 6, (12, 12)), (60, 60), interpolation=cv2.INTER_CUBIC)
        cell = cv2.resize(rng.normal(90, 25, (10, 10)), (60, 60), interpolation=cv2.INTER_CUBIC)
        disc = cv2.circle(np.zeros((60, 60)), (30, 30), int(rng.integers(16, 19)), 1.0, -1, cv2.LINE_AA)
        image = (image * (1 - disc) + cell * disc).clip(0, 255).astype(np.uint8)
        images.append(save(tmp_path / f"{number}.png", image))
    assert pairs_of(*images) == []


def test_find_duplicates_images_equal_only_at_16_px_are_not_paired(tmp_path):
    """Two patterns of grain on one 16 px image average out: only the second comparison sees them."""
    rng = np.random.default_rng(0)
    glance = np.kron(rng.integers(80, 176, (16, 16)), np.ones((2, 2)))
    grains = [np.kron(rng.choice([-15, 15], (16, 16)), [[1, -1], [-1, 1]]) for _ in "ab"]
    assert (
        pairs_of(
            *[
                save(tmp_path / f"{number}.png", (glance + grain).astype(np.uint8))
                for number, grain in enumerate(grains)
            ]
        )
        == []
    )


def test_find_duplicates_compares_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 2)
    monkeypatch.setattr(duplicates, "BLOCK_COLUMNS", 3)
    images = [
        save(tmp_path / f"{number}.png", make_pixels(number % 5)[:, :: 1 if number < 5 else -1]) for number in range(10)
    ]
    pair_ids = [(pair.a.id, pair.b.id) for pair in pairs_of(*images)]
    assert pair_ids == [(f"{number}.png", f"{number + 5}.png") for number in range(5)]


def test_find_duplicates_finds_what_comparing_all_pairs_in_all_transforms_finds(tmp_path):
    """The key that spares most comparisons loses no pair: many of these copies are close to the threshold."""
    rng, images = np.random.default_rng(0), []
    for number in range(60):
        pixels = cv2.resize(make_pixels(number), (32, 32), interpolation=cv2.INTER_AREA)
        copy = np.rot90(pixels[:, ::-1] if number % 2 else pixels, number % 4) + rng.normal(0, number / 6, (32, 32, 3))
        images += [save(tmp_path / f"{number}.png", pixels)]
        images += [save(tmp_path / f"{number}copy.png", copy.clip(0, 255).astype(np.uint8))]
    thumbnails = survey(images).thumbnails
    details = duplicates._detail(thumbnails, box=5)
    turned = [duplicates._detail(duplicates._transform(thumbnails, number), box=5) for number in range(8)]
    highest = np.max([transformed @ details.T for transformed in turned], axis=0)
    expected = {(a, b) for a, b in np.argwhere(np.triu(highest, 1) >= duplicates.NEAR_THRESHOLD).tolist()}
    assert 20 < len(expected) < 50  # some copies are too noisy
    assert {(images.index(pair.a), images.index(pair.b)) for pair in pairs_of(*images)} == expected


def test_find_duplicates_flat_images_match_only_their_own_colour(tmp_path):
    flat = {name: np.full((20, 20, 3), level, np.uint8) for name, level in (("a", 90), ("b", 90), ("c", 91))}
    images = [save(tmp_path / f"{name}.png", pixels) for name, pixels in flat.items()]
    (pair,) = pairs_of(*images, save(tmp_path / "d.png", make_pixels(1)))
    assert (pair.a.id, pair.b.id, pair.kind) == ("a.png", "b.png", "exact")


def test_find_duplicates_flat_images_with_common_noise_are_not_paired(tmp_path):
    trace = np.random.default_rng(0).integers(0, 2, (32, 32), dtype=np.uint8)
    assert pairs_of(save(tmp_path / "a.png", 90 + trace), save(tmp_path / "b.png", 140 + trace)) == []


def test_find_duplicates_tiny_inputs_have_no_pairs(tmp_path):
    assert pairs_of() == []
    dot, line = save(tmp_path / "dot.png", make_pixels(1, 1, 1)), save(tmp_path / "line.png", make_pixels(2, 1, 300))
    assert pairs_of(dot) == [] and pairs_of(dot, line) == []


def test_group_ids_joins_chains_under_the_smallest_id():
    a, b, c, d = (Image(name, Path(name), "x") for name in "abcd")
    test = Image("t", Path("t"))
    pairs = [DuplicatePair(c, b, "near", 0.97), DuplicatePair(b, a, "exact", 1.0), DuplicatePair(d, test, "exact", 1.0)]
    assert group_ids([d, c, b, a], pairs) == {"a": "a", "b": "a", "c": "a", "d": "d"}
