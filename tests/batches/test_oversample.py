"""Oversampling: every class as large as the largest, the same for the same seed and fold."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from comp.batches.augment_image import ImageAugmenter
from comp.batches.loader import OversampledItems, TrainingSet, iterate_batches
from comp.batches.oversample import SEARCH_SIZE, check_oversample, oversample
from comp.data.cache import Cache
from comp.data.images import resize
from comp.errors import UserError

COUNTS = [12, 7, 3, 1]  # of the classes among the training rows: the largest, six neighbours, two, none
SIDE = 40  # of the cached squares: larger than the search, as real ones are


@pytest.fixture
def train_set(tmp_path) -> TrainingSet:
    """23 of 60 random images in random order; the other rows are validation images, which must not be used."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    rows = np.random.default_rng(1).permutation(60)[: sum(COUNTS)]
    targets = np.random.default_rng(2).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    return TrainingSet(
        Cache(tmp_path / "images.npy", 60, SIDE), rows, targets, SIDE, 8, ImageAugmenter("none"), (42, 0)
    )


def plan_arrays(train_set: TrainingSet) -> tuple[np.ndarray, ...]:
    return train_set.rows, train_set.targets, train_set.oversampled.partners, train_set.oversampled.blend_weights


def is_same_plan(a: TrainingSet, b: TrainingSet) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(plan_arrays(a), plan_arrays(b), strict=True))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


def epoch_batches(train_set: TrainingSet, epoch: int) -> list:
    return [train_set[epoch * train_set.steps_per_epoch + step] for step in range(train_set.steps_per_epoch)]


def images_by_item(train_set: TrainingSet, epoch: int) -> dict[int, np.ndarray]:
    """The images of an epoch, by item."""
    images = np.concatenate([images.numpy() for images, _ in epoch_batches(train_set, epoch)])
    return dict(zip(train_set._order(epoch).tolist(), images, strict=True))


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_every_class_grows_to_the_largest_from_its_own_rows(train_set, method):
    grown = oversample(train_set, method)
    count = len(train_set.rows)
    assert np.bincount(grown.targets).tolist() == [max(COUNTS)] * len(COUNTS)
    assert np.array_equal(grown.rows[:count], train_set.rows)
    assert np.array_equal(grown.targets[:count], train_set.targets)
    assert (
        grown.oversampled.first_index == count
        and len(grown.oversampled.partners) == len(grown.oversampled.blend_weights) == len(grown.rows) - count
    )
    # no other row has a label here
    label_of = dict(zip(train_set.rows.tolist(), train_set.targets.tolist(), strict=True))
    assert [label_of[row] for row in grown.rows.tolist()] == grown.targets.tolist()
    assert [label_of[row] for row in grown.oversampled.partners.tolist()] == grown.targets[count:].tolist()


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_uses_the_images_of_a_class_equally_often(train_set, method):
    grown = oversample(train_set, method)
    used = Counter(grown.rows[len(train_set.rows) :].tolist())
    for label in range(1, len(COUNTS)):
        times = [used[row] for row in train_set.rows[train_set.targets == label].tolist()]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_is_a_pure_function_of_the_rng_key(train_set, method):
    plan = oversample(train_set, method)
    np.random.seed(5)
    assert is_same_plan(plan, oversample(train_set, method))
    for rng_key in [(43, 0), (42, 1)]:
        assert not is_same_plan(plan, oversample(replace(train_set, rng_key=rng_key), method))


def test_oversample_shares_no_random_numbers_with_order_or_augmentation(train_set, monkeypatch):
    """numpy reads a missing number of a seed as zero: [42, 0, 0], an epoch's order, is also [42, 0, 0, 0]."""
    seeds, real = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(seed) or real(seed))
    oversample(train_set, "smote")
    monkeypatch.undo()
    [plan] = seeds
    shorter = [(*train_set.rng_key, *rest) for rest in np.ndindex(9, 9)] + [
        (*train_set.rng_key, epoch) for epoch in range(9)
    ]
    state = np.random.SeedSequence(plan).generate_state(4).tolist()
    assert all(np.random.SeedSequence(seed).generate_state(4).tolist() != state for seed in shorter)


@pytest.mark.parametrize("size", [16, SIDE])
def test_sample_partners_are_among_the_five_nearest_of_the_class(train_set, size):
    grown = oversample(replace(train_set, size=size), "smote")
    side = min(size, SEARCH_SIZE)
    pixels = {row: resize(train_set.squares[row], side).astype(int) for row in train_set.rows.tolist()}
    ranks = []
    for base, partner, label in zip(
        grown.rows[len(train_set.rows) :].tolist(),
        grown.oversampled.partners.tolist(),
        grown.targets[len(train_set.rows) :],
        strict=True,
    ):
        others = [row for row in train_set.rows[train_set.targets == label].tolist() if row != base]
        near = sorted(others, key=lambda row: ((pixels[row] - pixels[base]) ** 2).sum())[:5]
        assert partner in near or (not near and partner == base)
        ranks += [near.index(partner)] if near else []
    assert len(set(ranks)) > 2  # and not always the nearest


def test_training_set_blend_is_between_its_images_by_its_weight(train_set):
    grown = oversample(train_set, "smote")
    images = images_by_item(grown, 0)
    assert (
        grown.oversampled.blend_weights.min() >= 0
        and grown.oversampled.blend_weights.max() < 1
        and 0.3 < grown.oversampled.blend_weights.mean() < 0.7
    )
    for index, (partner, weight) in enumerate(
        zip(grown.oversampled.partners, grown.oversampled.blend_weights, strict=True)
    ):
        item = grown.oversampled.first_index + index
        base, other = grown.squares[grown.rows[item]], grown.squares[partner]
        assert (images[item] >= np.minimum(base, other)).all() and (images[item] <= np.maximum(base, other)).all()
        exact = base + weight * (other.astype(float) - base)
        assert np.abs(images[item] - exact).max() <= 0.5 + 1e-4


def test_training_set_blend_rounds_to_the_nearest_whole_number(tmp_path):
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 256, 3))
    np.save(tmp_path / "pairs.npy", np.stack([ramp, ramp.transpose(1, 0, 2)]))
    cache = Cache(tmp_path / "pairs.npy", 2, 256)
    for weight in [1e-9, 0.25, 1 / 3, 0.5, 0.999999]:
        oversampled = OversampledItems(0, np.array([1]), np.array([weight]), ImageAugmenter("none"))
        train_set = TrainingSet(
            cache, np.array([0]), np.array([0]), 256, 1, ImageAugmenter("none"), (1, 0), oversampled=oversampled
        )
        a, b = cache[0].astype(float), cache[1].astype(float)
        assert np.abs(train_set[0][0][0].numpy() - (a + weight * (b - a))).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_leaves_the_images_to_the_run_policy(train_set, method):
    images = images_by_item(oversample(train_set, method), 0)
    assert sorted(images) == list(range(max(COUNTS) * len(COUNTS)))
    for item, row in enumerate(train_set.rows):
        assert np.array_equal(images[item], train_set.squares[row])


def test_oversample_copies_use_their_policy_and_differ_between_epochs(train_set):
    grown = oversample(train_set, "flips")
    first, second = images_by_item(grown, 0), images_by_item(grown, 1)
    changed = again = 0
    for item in range(grown.oversampled.first_index, len(grown.rows)):
        square = grown.squares[grown.rows[item]]
        views = [square, square[::-1], square[:, ::-1], square[::-1, ::-1]]
        assert any(np.array_equal(first[item], view) for view in views)
        changed += not np.array_equal(first[item], square)
        again += not np.array_equal(first[item], second[item])
    assert changed > 0 and again > 0
    assert list(grown._order(0)) != list(grown._order(1))


def test_oversample_blends_use_the_run_policy(train_set):
    plain, flipped = (
        oversample(replace(train_set, augmenter=ImageAugmenter(name)), "smote") for name in ("none", "flips")
    )
    assert is_same_plan(plain, flipped)
    before, after = images_by_item(plain, 0), images_by_item(flipped, 0)
    blends = range(plain.oversampled.first_index, len(plain.rows))
    assert all(sorted(before[item].ravel()) == sorted(after[item].ravel()) for item in blends)
    assert any(not np.array_equal(before[item], after[item]) for item in blends)


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_workers_change_nothing(train_set, method):
    grown = oversample(replace(train_set, augmenter=ImageAugmenter("flips")), method)
    steps = range(3, 9)  # from mid-epoch, across an epoch's end
    assert same(list(iterate_batches(grown, steps, workers=0)), list(iterate_batches(grown, steps, workers=2)))


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_single_image_of_a_class_is_copied(train_set, method):
    grown = oversample(train_set, method)
    copies = np.flatnonzero(grown.targets == COUNTS.index(1))
    assert len(copies) == max(COUNTS) and len(set(grown.rows[copies])) == 1
    if method == "smote":
        images = images_by_item(grown, 0)
        assert all(np.array_equal(images[item], grown.squares[grown.rows[item]]) for item in copies)


@pytest.mark.parametrize("method", ["smote", "gupta"])
def test_oversample_balanced_set_is_unchanged(train_set, method):
    even = replace(train_set, rows=train_set.rows[:20], targets=np.arange(20) % 4)
    grown = oversample(even, method)
    assert len(grown.rows) == 20 and grown.targets.dtype == even.targets.dtype
    assert same(epoch_batches(even, 0), epoch_batches(grown, 0))


def test_oversample_none_returns_the_same_object(train_set):
    assert oversample(train_set, "none") is train_set


def test_oversample_imports_scikit_learn_only_for_smote(train_set, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)  # an import of it fails from here on
    oversample(train_set, "gupta")
    with pytest.raises(ImportError, match="neighbors"):
        oversample(train_set, "smote")


def test_check_oversample_unknown_method_raises_with_a_suggestion():
    for name in ("none", "smote", "gupta", "heavy"):
        check_oversample(name)
    with pytest.raises(UserError, match="there is no smoke; did you mean smote"):
        check_oversample("smoke")
